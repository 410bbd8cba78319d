package switchyard

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
)

// TestGroupMustBeSaid: on several ranks a group of 0 tokens, which could only mean the tokens of
// each rank, is an error that says what to set.
func TestGroupMustBeSaid(t *testing.T) {
	cfg := smallConfig()
	cfg.Group = 0
	require.NoError(t, cfg.Validate(1))
	err := cfg.Validate(3)
	require.ErrorContains(t, err, "Group is 0 on 3 ranks")
	require.ErrorContains(t, err, "PerRank")
	cfg.Group = PerRank
	require.NoError(t, cfg.Validate(1))
	require.NoError(t, cfg.Validate(3))
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := smallConfig()
		cfg.Group = 0
		_, err := NewLayer(w, cfg)
		return err
	}) {
		require.ErrorContains(t, err, "Group is 0 on 2 ranks", "rank %d", rank)
	}
}

// TestAnyLegalLayoutHasTheSameBits draws layers, batches with padding, numbers of ranks and ways to
// spread the tokens, of which every rank but the last one with tokens has whole groups.
func TestAnyLegalLayoutHasTheSameBits(t *testing.T) {
	needExactProducts(t)
	draws := 40
	if raced || testing.Short() {
		draws = 8
	}
	for seed := range uint64(draws) {
		r := rand.New(rand.NewPCG(31, seed))
		cfg, tokens := drawLayer(r), 1+r.IntN(40)
		x, dy := randomMatrix(r, tokens, cfg.Dim), randomMatrix(r, tokens, cfg.Dim)
		side := router.Batch{Padding: make([]bool, tokens)}
		for i := range side.Padding {
			side.Padding[i] = r.IntN(5) == 0
		}
		want := trainTwiceWith(t, inprocWorlds(1), cfg, x, dy, side, []int{tokens})
		for ranks := 2; ranks <= 6; ranks++ {
			cfg, cuts := cfg, drawLayout(r, tokens, cfg.Group, ranks)
			if cfg.ExpertParallel = 1 + r.IntN(ranks); ranks%cfg.ExpertParallel != 0 {
				cfg.ExpertParallel = 0
			}
			got := trainTwiceWith(t, inprocWorlds(ranks), cfg, x, dy, side, cuts)
			t.Logf("seed %d: %d tokens in groups of %d, ranks end at %v, %d a copy", seed, tokens, cfg.Group, cuts, cfg.ExpertParallel)
			requireSameBits(t, want, got)
		}
	}
}

// drawLayer draws a layer of few experts, with losses, noise and drops.
func drawLayer(r *rand.Rand) Config {
	experts := 2 + r.IntN(6)
	top := router.TopK{
		K: 1 + r.IntN(2), CapacityFactor: float64(r.IntN(3)) * 0.75,
		Losses: []router.Loss{router.Balance(0.1), router.GlobalBalance(0.2), router.SequenceBalance(0.1, 2), router.ZLoss(0.01)},
	}
	cfg := Config{
		Dim: 6, Experts: experts, Router: top, Expert: expert.SwiGLU{Hidden: 5}, Group: 1 + r.IntN(9), Seed: r.Uint64(),
		Overlap: Overlap{Degree: r.IntN(3)},
	}
	switch r.IntN(4) {
	case 0:
		cfg.Router = router.NoisyTopK{TopK: top}
	case 1:
		top.BiasRate, top.Score = 0.01, router.Sigmoid
		cfg.Router = top
	case 2:
		cfg.Shared = expert.FFN{Hidden: 3}
	}
	return cfg
}

// drawLayout says where the tokens of each rank end: whole groups, but for the last rank with
// tokens. Some have none.
func drawLayout(r *rand.Rand, tokens, group, ranks int) []int {
	cuts := make([]int, ranks)
	at := 0
	for i := range cuts {
		at = min(at+group*r.IntN(2+tokens/group/ranks*2), tokens)
		cuts[i] = at
	}
	cuts[ranks-1] = tokens
	return cuts
}

// layoutPass is one pass of a step and where the tokens of each rank end in it, by number of ranks.
type layoutPass struct {
	x, dy   blas32.General
	padding []bool
	cuts    map[int][]int
}

// TestAnyLegalLayoutOfPassesHasTheSameBits draws steps of up to three passes of different sizes,
// each spread over ranks in a way of its own.
func TestAnyLegalLayoutOfPassesHasTheSameBits(t *testing.T) {
	needExactProducts(t)
	draws := 25
	if raced || testing.Short() {
		draws = 5
	}
	for seed := range uint64(draws) {
		r := rand.New(rand.NewPCG(37, seed))
		cfg := drawLayer(r)
		cfg.MicroBatches = r.IntN(4)
		var passes []layoutPass
		for range 1 + r.IntN(3) {
			tokens := 1 + r.IntN(30)
			p := layoutPass{randomMatrix(r, tokens, cfg.Dim), randomMatrix(r, tokens, cfg.Dim), make([]bool, tokens), map[int][]int{1: {tokens}}}
			for i := range p.padding {
				p.padding[i] = r.IntN(5) == 0
			}
			for ranks := 2; ranks <= 6; ranks++ {
				p.cuts[ranks] = drawLayout(r, tokens, cfg.Group, ranks)
			}
			passes = append(passes, p)
		}
		want := trainPasses(t, 1, cfg, passes)
		for ranks := 2; ranks <= 6; ranks++ {
			got := trainPasses(t, ranks, cfg, passes)
			t.Logf("seed %d, %d ranks, %d passes", seed, ranks, len(passes))
			requireSameBits(t, want, got)
		}
	}
}

// trainPasses takes two steps of the passes, and returns the parameters and, as gradients, those of
// the last step.
func trainPasses(t *testing.T, ranks int, cfg Config, passes []layoutPass) (res result) {
	t.Helper()
	for rank, err := range onRanks(inprocWorlds(ranks), func(w *World) error {
		ctx, optimizer := context.Background(), expert.NewAdam(0.01)
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		var g []Tensor
		for range 2 {
			for _, p := range passes {
				begin, end := 0, p.cuts[ranks][w.Rank()]
				if w.Rank() > 0 {
					begin = p.cuts[ranks][w.Rank()-1]
				}
				if _, err := l.ForwardBatch(ctx, part(p.x, begin, end), router.Batch{Padding: p.padding[begin:end]}); err != nil {
					return err
				}
				if _, err := l.Backward(ctx, part(p.dy, begin, end)); err != nil {
					return err
				}
			}
			if g, err = l.Gradients(ctx); err != nil {
				return err
			}
			if err := l.Step(ctx, optimizer); err != nil {
				return err
			}
		}
		list, err := l.Parameters(ctx)
		if w.Rank() == 0 {
			res.gradients, res.parameters = g, list
		}
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
	return res
}
