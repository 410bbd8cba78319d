package alltoall_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
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
	for i, ranks := range []int{2, 3, 6, 7} {
		for _, a := range alltoall.Algorithms() {
			j, s := randomJob(r, ranks), r.Uint64()
			for rank, err := range ranktest.Errors(t, ranks, func(tr transport.Transport) error {
				if i%2 == 1 {
					tr = afar{tr}
				}
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
	counts := j.counts[tr.Rank()]
	for _, request := range []alltoall.Request{
		{Counts: counts, Rows: m, Token: token}, {Counts: counts, Rows: out}, {Counts: counts, Rows: m, Token: token},
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
		for _, err := range ranktest.Errors(t, 5, func(tr transport.Transport) error {
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

// pointed are costs that are a pointer.
type pointed struct{ favour }

// TestConfigFaults: each field has its fault.
func TestConfigFaults(t *testing.T) {
	for _, err := range ranktest.Errors(t, 2, func(tr transport.Transport) error {
		for says, change := range map[string]func(c *alltoall.Config){
			"placement [] does not begin at expert 0 or names no rank":    func(c *alltoall.Config) { c.Placement = alltoall.Placement{} },
			"placement [1 2 3] does not begin at expert 0":                func(c *alltoall.Config) { c.Placement.First = []int{1, 2, 3} },
			"placement gives rank 1 experts 3 to 2":                       func(c *alltoall.Config) { c.Placement.First = []int{0, 3, 2} },
			"the number of experts is 33554432, must be at most 16777216": func(c *alltoall.Config) { c.Placement.First = []int{0, 1, 1 << 25} },
			"Dim is 0":                    func(c *alltoall.Config) { c.Dim = 0 },
			"MaxRelay is -1":              func(c *alltoall.Config) { c.MaxRelay = -1 },
			"Groups is -1":                func(c *alltoall.Config) { c.Groups = -1 },
			"Algorithm is 99":             func(c *alltoall.Config) { c.Algorithm = 99 },
			"topology of 3 ranks, want 2": func(c *alltoall.Config) { c.Topology = alltoall.Nodes(3, 1) },
			"Wire.Combine is Format(99), want one of ": func(c *alltoall.Config) { c.Wire.Combine = alltoall.Format(99) },
			"broken costs": func(c *alltoall.Config) { c.Costs = broken{} },
			"Costs is a nil *alltoall_test.pointed, want costs, or no value for none": func(c *alltoall.Config) { c.Costs = (*pointed)(nil) },
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

// TestFormatsInMessages: numbers that a format has arrive as they left, in both directions of both
// trips, from rows in order and from rows that Token lists, some of them twice.
func TestFormatsInMessages(t *testing.T) {
	for _, name := range alltoall.FormatNames() {
		f, err := alltoall.ParseFormat(name)
		require.NoError(t, err)
		require.Equal(t, name, f.String())
		for _, token := range [][]int32{nil, {2, 2, 1, 1}} {
			for _, err := range ranktest.Errors(t, 2, func(tr transport.Transport) error { return checkFormat(tr, f, token) }) {
				require.NoError(t, err, "%s, %v", name, token)
			}
		}
	}
	_, err := alltoall.ParseFormat("fp3")
	require.ErrorContains(t, err, "fp3")
}

func checkFormat(tr transport.Transport, f alltoall.Format, token []int32) error {
	ctx := context.Background()
	x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(2, 2), Dim: 4, Topology: alltoall.Nodes(2, 1),
		Wire: alltoall.Everywhere(f), Costs: favour(alltoall.Rails)})
	if err != nil {
		return err
	}
	m := blas32.General{Rows: 4, Cols: 4, Stride: 4, Data: make([]float32, 16)}
	for i := range m.Data {
		m.Data[i] = []float32{448, -448, 0, 448}[i%4]
	}
	switch f {
	case alltoall.Int8:
		for i := range m.Data {
			m.Data[i] = []float32{127, -127, 3, float32(i)}[i%4]
		}
	case alltoall.MXFP4, alltoall.MXFP4H, alltoall.NVFP4, alltoall.NVFP4H:
		for i := range m.Data {
			m.Data[i] = []float32{2688, -1792, 0, 1344}[i%4] * 16 / 7
		}
	case alltoall.Float32, alltoall.BF16, alltoall.FP16:
		for i := range m.Data {
			m.Data[i] = float32(i - 5)
		}
	}
	want := slices.Clone(m.Data)
	for i, t := range token {
		copy(want[4*i:4*i+4], m.Data[4*t:])
	}
	counts := alltoall.Counts{Tokens: 4, Leaves: 1, Rows: []int{2, 2}}
	h, in, err := whole(ctx, x, alltoall.Request{Counts: counts, Rows: m, Token: token})
	if err != nil {
		return err
	}
	defer h.Release()
	half := want[8*tr.Rank():][:8] // this rank's expert gets the same rows of both ranks
	for trip := range 2 {
		if err := same(fmt.Sprintf("trip %d", trip), append(slices.Clone(half), half...), in.Data); err != nil {
			return err
		}
		home, err := h.Combine(ctx, 0, in)
		if err != nil {
			return err
		}
		if err := same(fmt.Sprintf("answers of trip %d", trip), want, home.Data); err != nil {
			return err
		}
		if in, err = h.DispatchBack(ctx, 0, home); err != nil {
			return err
		}
		if trip == 1 {
			break
		}
	}
	return nil
}

// TestARankThatLeavesIsNamed by the ranks that wait for its rows, whatever the algorithm.
func TestARankThatLeavesIsNamed(t *testing.T) {
	for _, a := range alltoall.Algorithms() {
		errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
			x, err := alltoall.New(tr, alltoall.Config{Placement: alltoall.Even(2, 2), Dim: dim, Algorithm: a})
			require.NoError(t, err)
			rows := blas32.General{Rows: 2, Cols: dim, Stride: dim, Data: make([]float32, 2*dim)}
			counts := alltoall.Counts{Tokens: 2, Leaves: 1, Rows: []int{1, 1}}
			h, err := x.Begin(context.Background(), alltoall.Request{Counts: counts, Rows: rows})
			require.NoError(t, err)
			if tr.Rank() == 1 {
				return tr.Close()
			}
			_, _, err = h.Dispatch(context.Background(), 0)
			require.ErrorContains(t, err, "alltoall: dispatch #2: ")
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
			_, err = h.Combine(context.Background(), 0)
			require.ErrorIs(t, err, alltoall.ErrOrder)
			h.Release()
			return nil
		})
		require.NoError(t, errors.Join(errs...), "%v", a)
	}
}
