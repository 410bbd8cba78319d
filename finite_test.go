package switchyard

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

const refusingRanks, refusingTokens = 4, 6

// refusals are layers of four ranks on two nodes: every way in which a batch is announced.
func refusals() map[string]Config {
	list := map[string]Config{}
	for name, r := range map[string]router.Router{
		"topk":      router.TopK{K: 2, Score: router.Sigmoid, BiasRate: 0.01},
		"hash":      router.Hash{K: 2},
		"soft":      router.SoftMoE{},
		"consulted": router.ExpertChoice{Over: router.WholeBatch},
		"global":    router.TopK{K: 2, Losses: []router.Loss{router.GlobalBalance(0.01)}},
	} {
		for how, c := range map[string]Compression{
			"plain": {}, "compressed": {When: Always, LSH: lsh.Config{Rate: 0.5}},
			"nodes": {When: Always, Nodes: true, LSH: lsh.Config{Rate: 0.5, Compensation: lsh.LearnedGain}},
		} {
			for _, parallel := range []int{4, 2} {
				cfg := smallConfig()
				cfg.Router, cfg.Compression, cfg.ExpertParallel = r, c, parallel
				cfg.Shared, cfg.Topology, cfg.Overlap.Degree = expert.FFN{Hidden: 3}, alltoall.Nodes(refusingRanks, 2), 2
				list[fmt.Sprintf("%s/%s/parallel=%d", name, how, parallel)] = cfg
			}
		}
	}
	return list
}

// batchOf is a rank's own tokens or gradients, and their numbers in the vocabulary.
func batchOf(seed uint64, r transport.Rank) (blas32.General, router.Batch) {
	m := randomMatrix(rand.New(rand.NewPCG(seed, uint64(r))), refusingTokens, smallConfig().Dim)
	side := router.Batch{IDs: make([]int32, refusingTokens)}
	for t := range side.IDs {
		side.IDs[t] = int32(t + 7*int(r))
	}
	return m, side
}

// TestANumberThatIsNotFiniteFailsOneBatchAlone in x, or in dy: every rank learns at once whose it is, and what the
// layer is after it is what it would be without that batch, gradients and bias and all.
func TestANumberThatIsNotFiniteFailsOneBatchAlone(t *testing.T) {
	for name, cfg := range refusals() {
		for culprit := range transport.Rank(refusingRanks) {
			for _, backward := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/backward=%t/rank=%d", name, backward, culprit), func(t *testing.T) {
					value := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}[culprit%3]
					want, _ := runPasses(t, cfg, []uint64{0, 2}, nil)
					got, errs := runPasses(t, cfg, []uint64{0, 1, 2}, func(r transport.Rank, x, dy blas32.General) {
						if backward {
							x = dy
						}
						if r == culprit {
							x.Data[3*x.Stride+2] = value
						}
					})
					for r, err := range errs {
						require.Equal(t, culprit, transport.CulpritOf(err), "rank %d: %v", r, err)
						if backward || r == int(culprit) {
							require.ErrorIs(t, err, alltoall.ErrNotFinite)
						} else {
							require.ErrorIs(t, err, alltoall.ErrRefused)
						}
						if backward {
							require.ErrorContains(t, err, "row 3")
						}
					}
					require.ErrorContains(t, errs[culprit], "column 2")
					require.Equal(t, len(want), len(got))
					for i := range want {
						require.Equal(t, want[i], got[i])
					}
				})
			}
		}
	}
}

// runPasses trains a layer on four ranks with batches of the given numbers, of which batch 1 is spoilt, and returns rank 0's gradients
// and parameters after a step, and each rank's error of batch 1.
func runPasses(t *testing.T, cfg Config, batches []uint64, spoil func(r transport.Rank, x, dy blas32.General)) (tensors []Tensor, wrong []error) {
	t.Helper()
	wrong = make([]error, refusingRanks)
	for r, err := range onRanks(inprocWorlds(refusingRanks), func(w *World) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		for _, n := range batches {
			x, side := batchOf(n, w.Rank())
			dy, _ := batchOf(n+100, w.Rank())
			if n == 1 {
				spoil(w.Rank(), x, dy)
			}
			_, err := l.ForwardBatch(ctx, x, side)
			if err == nil {
				_, err = l.Backward(ctx, dy)
			}
			if n == 1 {
				wrong[w.Rank()] = err
			} else if err != nil {
				return fmt.Errorf("batch %d: %w", n, err)
			}
		}
		list, err := l.Gradients(ctx)
		if err != nil {
			return err
		}
		if err := l.Step(ctx, &expert.SGD{LR: 0.1}); err != nil {
			return err
		}
		all, err := l.Parameters(ctx)
		if w.Rank() == 0 {
			tensors = append(list, all...)
		}
		return err
	}) {
		require.NoError(t, err, "rank %d", r)
	}
	return tensors, wrong
}
