package alltoall_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/transport"
)

// favour are costs by which one algorithm is ten times as fast as the others.
type favour alltoall.Algorithm

func (f favour) Validate() error { return nil }

func (f favour) Round(r alltoall.UniformRound) time.Duration {
	if r.Algorithm == alltoall.Algorithm(f) {
		return time.Millisecond
	}
	return 10 * time.Millisecond
}

// TestAutoTakesTheFastest on every rank, and moves the same rows; counts then tell of the rows of
// each node.
func TestAutoTakesTheFastest(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for _, ranks := range []int{2, 3, 6} {
		for _, a := range alltoall.Algorithms() {
			j, s := randomJob(r, ranks), r.Uint64()
			for rank, err := range onRanks(t, ranks, func(tr transport.Transport) error {
				return j.checkAuto(tr, a, rand.New(rand.NewPCG(s, uint64(tr.Rank()))))
			}) {
				require.NoError(t, err, "seed %d, %d ranks, %s, rank %d, %+v", seed, ranks, a, rank, j)
			}
		}
	}
}

func (j job) checkAuto(tr transport.Transport, a alltoall.Algorithm, r *rand.Rand) error {
	x, err := alltoall.New(tr, alltoall.Config{Placement: j.place, Dim: dim, Topology: alltoall.Nodes(tr.Size(), 2), Costs: favour(a)})
	if err != nil {
		return err
	}
	want, _ := j.incoming(int(tr.Rank()))
	out := j.outgoing(int(tr.Rank()))
	m, token := shuffled(r, out)
	for _, request := range []alltoall.Request{
		{Counts: j.counts[tr.Rank()], Rows: m, Token: token}, {Counts: j.counts[tr.Rank()], Rows: out},
	} {
		h, in, err := whole(context.Background(), x, request)
		if err != nil {
			return err
		}
		if h.Algorithm() != a {
			return fmt.Errorf("took %s", h.Algorithm())
		}
		if err := same("dispatched", want, in.Data); err != nil {
			return err
		}
		home, err := h.Combine(context.Background(), 0, in)
		if err != nil {
			return err
		}
		if err := same("combined", out.Data, home.Data); err != nil {
			return err
		}
		h.Release()
	}
	if p := x.Predict(100, alltoall.Share{Nodes: 1, Ranks: 1})[a-1]; p.Algorithm != a || p.Dispatch != 2*time.Millisecond {
		return fmt.Errorf("predicts %+v", p)
	}
	return nil
}

// TestUniformMovesEachRanksBytes by each algorithm.
func TestUniformMovesEachRanksBytes(t *testing.T) {
	for _, a := range alltoall.Algorithms() {
		for _, err := range onRanks(t, 5, func(tr transport.Transport) error {
			x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(5, 5), Dim: 1, Topology: alltoall.Nodes(5, 2)})
			require.NoError(t, err)
			in, want := make([]byte, 15), []byte{1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5}
			me := byte(tr.Rank())
			copy(want[3*me:], []byte{0, 0, 0})
			err = x.Uniform(context.Background(), a, []byte{me + 1, me + 1, me + 1}, in)
			require.Equal(t, want, in)
			return err
		}) {
			require.NoError(t, err, "%v", a)
		}
	}
}

// broken are costs that are not valid.
type broken struct{ favour }

var errBroken = errors.New("broken costs")

func (broken) Validate() error { return errBroken }

// TestConfigFaults: each field has its fault.
func TestConfigFaults(t *testing.T) {
	for _, err := range onRanks(t, 2, func(tr transport.Transport) error {
		for says, change := range map[string]func(c *alltoall.Config){
			"placement [] does not begin at expert 0 or names no rank":    func(c *alltoall.Config) { c.Placement = alltoall.Placement{} },
			"placement [1 2 3] does not begin at expert 0":                func(c *alltoall.Config) { c.Placement.First = []int{1, 2, 3} },
			"placement gives rank 1 experts 3 to 2":                       func(c *alltoall.Config) { c.Placement.First = []int{0, 3, 2} },
			"the number of experts is 33554432, must be at most 16777216": func(c *alltoall.Config) { c.Placement.First = []int{0, 1, 1 << 25} },
			"Dim is 0":                          func(c *alltoall.Config) { c.Dim = 0 },
			"MaxRelay is -1":                    func(c *alltoall.Config) { c.MaxRelay = -1 },
			"Groups is -1":                      func(c *alltoall.Config) { c.Groups = -1 },
			"Algorithm is 99":                   func(c *alltoall.Config) { c.Algorithm = 99 },
			"topology of 3 ranks, want 2":       func(c *alltoall.Config) { c.Topology = alltoall.Nodes(3, 1) },
			"Wire has Format(99), want one of ": func(c *alltoall.Config) { c.Wire.Combine = 99 },
			"broken costs":                      func(c *alltoall.Config) { c.Costs = broken{} },
		} {
			c := alltoall.Config{Placement: alltoall.Even(4, 2), Dim: dim}
			change(&c)
			_, err := alltoall.New(tr, c)
			require.ErrorContains(t, err, says)
		}
		return nil
	}) {
		require.NoError(t, err)
	}
}

// TestPlanCountsLeaves before this rank's and of all ranks.
func TestPlanCountsLeaves(t *testing.T) {
	p := alltoall.NewPlan(1, alltoall.Hosted([]int{1, 0}), []int{0, 0}, []alltoall.Counts{
		{Tokens: 5, Leaves: 3, Rows: []int{}}, {Tokens: 5, Leaves: 2, Rows: []int{}},
	})
	require.Equal(t, 3, p.FirstLeaf())
	require.Equal(t, 5, p.TotalLeaves())
}
