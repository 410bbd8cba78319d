package switchyard

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/transport"
)

// someMachine is four ranks on two nodes, whose links are so unequal that they decide.
func someMachine() Machine {
	return Machine{
		Topology: alltoall.Topology{Node: []int{0, 1, 0, 1}},
		Links:    links.Links{Within: links.Link{Alpha: time.Microsecond, Beta: 0.1}, Between: links.Link{Alpha: 10 * time.Millisecond, Beta: 100}},
		Hosted:   []int{1, 4, 1, 4},
	}
}

// TestLayersTakeTheMachineOfTheWorld where their configuration says nothing, and in its place what
// it says. Results have the same bits.
func TestLayersTakeTheMachineOfTheWorld(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cfg := layersUnderTest()["drops"] // of five experts
	cfg.ExpertParallel, cfg.Algorithm = 2, alltoall.Auto
	cuts := cutsOf(splits[4][0])
	want := trainTwice(t, inprocWorlds(4), cfg, x, dy, cuts)
	worlds := inprocWorlds(4)
	for _, err := range atOnce(worlds, func(w *World) error { return w.SetMachine(someMachine()) }) {
		require.NoError(t, err)
	}
	requireSameBits(t, want, trainTwice(t, worlds, cfg, x, dy, cuts))
	m := someMachine()
	filled, err := m.fill(cfg)
	require.NoError(t, err)
	require.Equal(t, m.Topology, filled.Topology)
	require.Equal(t, m.Links, filled.Links)
	require.Equal(t, []int{1, 4}, filled.Hosted)
	own := cfg
	own.Topology, own.Links, own.Hosted = alltoall.Nodes(4, 4), links.Links{Within: links.Link{Beta: 1}}, []int{3, 2}
	filled, err = m.fill(own)
	require.NoError(t, err)
	require.Equal(t, own, filled)
	none, err := Machine{}.fill(cfg)
	require.NoError(t, err)
	require.Equal(t, cfg, none, "without a machine nothing changes")
}

// TestGroupsDeriveTheMachine of their own ranks, whose nodes they number anew.
func TestGroupsDeriveTheMachine(t *testing.T) {
	for _, err := range onRanks(inprocWorlds(4), func(w *World) error {
		if err := w.SetMachine(someMachine()); err != nil {
			return err
		}
		g, err := w.Group([]transport.Rank{3, 0, 2})
		if err == nil && g != nil {
			err = checkDerived(t, g)
		}
		return errors.Join(err, w.Comm().Barrier(t.Context()))
	}) {
		require.NoError(t, err)
	}
}

func checkDerived(t *testing.T, g *World) error {
	require.Equal(t, Machine{alltoall.Topology{Node: []int{0, 1, 1}}, someMachine().Links, []int{4, 1, 1}}, g.machine)
	_, err := NewLayer(g, layersUnderTest()["drops"]) // of five experts
	require.ErrorContains(t, err, "Hosted has the sum 6, want the 5 experts")
	again, err := g.Reordered([]int{1, 2, 0})
	if err != nil {
		return err
	}
	require.Equal(t, Machine{alltoall.Topology{Node: []int{0, 0, 1}}, someMachine().Links, []int{1, 1, 4}}, again.machine)
	cfg := layersUnderTest()["drops"]
	cfg.Experts = 6
	_, err = NewLayer(again, cfg)
	return err
}

// TestMachinesThatDoNotFit are an error on every rank.
func TestMachinesThatDoNotFit(t *testing.T) {
	for want, m := range map[string]Machine{
		"SetMachine: alltoall: topology of 3 ranks, want 2":                 {Topology: alltoall.Nodes(3, 1)},
		"SetMachine: Hosted has 1 numbers, want one for each of the 2 rank": {Hosted: []int{5}},
		"SetMachine: Hosted[1] is -1, must not be negative":                 {Hosted: []int{6, -1}},
		"0s and -1 ns a byte, must not be negative":                         {Links: links.Links{Within: links.Link{Beta: -1}}},
	} {
		for _, err := range onRanks(inprocWorlds(2), func(w *World) error { return w.SetMachine(m) }) {
			require.ErrorContains(t, err, want)
		}
	}
	for _, err := range onRanks(inprocWorlds(2), func(w *World) error {
		if err := w.SetMachine(Machine{Hosted: []int{3, 2}}); err != nil {
			return err
		}
		cfg := layersUnderTest()["drops"]
		cfg.ExpertParallel = 1
		_, err := NewLayer(w, cfg)
		require.ErrorContains(t, err, "the machine has Hosted[1] 2 and Hosted[0] 3")
		err = w.SetMachine(Machine{})
		require.ErrorContains(t, err, "SetMachine: the world has 1 layers, want it before the first")
		return nil
	}) {
		require.NoError(t, err)
	}
	for r, err := range together(inprocWorlds(3), func(w *World) error {
		m := Machine{Hosted: []int{1, 2, 2}}
		if w.Rank() == 1 {
			m.Hosted[0] = 9
		}
		return w.SetMachine(m)
	}) {
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.ErrorContains(t, err, "Hosted=[9 2 2]")
		if r != 1 {
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
		}
	}
}
