package switchyard

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
)

// everyRouter is a router of each kind, for 4 experts and features of 3 columns.
func everyRouter() map[string]router.Router {
	top := router.TopK{K: 2, CapacityFactor: 1.5, Losses: []router.Loss{router.Balance(0.1), router.ZLoss(0.1), router.SequenceBalance(0.1, 2), router.GlobalBalance(0.1)}}
	sigmoid := router.TopK{K: 2, Score: router.Sigmoid, BiasRate: 0.01, Scale: 2}
	modality := router.Modality{Groups: []router.ModalityGroup{{Name: "text", Experts: 3}, {Name: "image", Experts: 1}}, Aux: true}
	list := map[string]router.Router{
		"topk": top, "sigmoid": sigmoid, "switch": router.Switch{Jitter: 0.1}, "gshard": router.GShard{RandomSecond: true},
		"sqrt softplus": router.TopK{K: 2, Score: router.SqrtSoftplus, Losses: []router.Loss{router.Balance(0.1)}},
		"cosine":        router.Cosine{TopK: top, Learned: true}, "groups": router.GroupLimited{TopK: sigmoid, Groups: 2, Keep: 1},
		"quantile": router.QuantileBalanced{TopK: router.TopK{K: 2}}, "prototypes": router.Prototypes{K: 2},
		"sinkhorn": router.Sinkhorn{K: 2}, "base": router.BASE{}, "hash": router.Hash{K: 2}, "hash rows": router.Hash{K: 2, Rows: true},
		"hash table": router.Hash{Table: []router.ExpertID{0, 3, 1, 2, 2, 1, 0}}, "side": router.SideFeatures{TopK: top, Columns: 3},
		"dropout": router.SMoEDropout{Schedule: router.Schedule{From: 1, To: 2, Steps: 4}}, "choice": router.ExpertChoice{},
		"choice of all": router.ExpertChoice{Over: router.WholeBatch}, "capped": router.ExpertChoice{Cap: 3}, "modality": modality,
		"soft": router.SoftMoE{Slots: 2}, "uniform": router.Uniform{K: 2}, "zipf": router.Zipf{K: 2, Exponent: 1}, "hot": router.Hot{K: 2, Share: 0.5},
		"stochastic": router.Stochastic{K: 2}, "several": router.Several{Routers: []router.Router{top, router.Cosine{TopK: top}}},
	}
	for _, noise := range []router.Noise{router.LearnedGaussian, router.FixedGaussian, router.Gumbel, router.JitterTokens, router.JitterLogits} {
		n := router.NoisyTopK{TopK: top, Noise: noise, Amount: 0.3}
		if noise == router.LearnedGaussian {
			n.Amount, n.TopK.Losses = 0, []router.Loss{router.LoadLoss(0.1), router.ImportanceLoss(0.1)}
		}
		list["noisy "+noise.String()] = n
	}
	return list
}

// paddedBatch is a rank's tokens, gradients and side information, of which some are padding that
// holds garbage, or zeros for 0.
func paddedBatch(rank int, garbage float32) (x, dy blas32.General, side router.Batch) {
	r := rand.New(rand.NewPCG(3, uint64(rank)))
	const tokens = 11
	x, dy, side.Features = randomMatrix(r, tokens, 6), randomMatrix(r, tokens, 6), randomMatrix(r, tokens, 3)
	side.Padding = []bool{false, true, true, false, false, false, true, false, false, false, true}
	if rank == 1 {
		side.Padding = []bool{true, true, true, true, true, true, true, true, true, true, true}
	}
	for t := range tokens {
		side.IDs, side.Modality = append(side.IDs, int32(r.IntN(7))), append(side.Modality, int32(r.IntN(2)))
		if !side.Padding[t] {
			continue
		}
		if garbage != 0 {
			side.IDs[t], side.Modality[t] = -9, 77
		} else {
			side.IDs[t], side.Modality[t] = 0, 0
		}
		for _, m := range []blas32.General{x, dy, side.Features} {
			for j := range m.Cols {
				m.Data[t*m.Stride+j] = garbage
			}
		}
	}
	return x, dy, side
}

// TestWhatIsInPaddingChangesNothing: with each kind of gate, shared experts and compression,
// outputs, gradients, parameters and counts have the bits that they have where padding holds zeros.
func TestWhatIsInPaddingChangesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for long")
	}
	ways := map[string]Compression{
		"plain": {}, "compressed": {When: CompressAlways, LSH: lsh.Config{Rate: 0.4}},
		"nodes": {When: CompressAlways, Nodes: true, LSH: lsh.Config{Rate: 0.4, Compensation: lsh.LearnedChannels}},
	}
	routers, names := everyRouter(), slices.Sorted(maps.Keys(ways))
	for i, name := range slices.Sorted(maps.Keys(routers)) {
		r := routers[name]
		for _, how := range fewer(names, names[i%len(names)]) {
			c := ways[how]
			t.Run(name+"/"+how, func(t *testing.T) {
				cfg := Config{Dim: 6, Experts: 4, Group: 4, Seed: 9, Router: r, Compression: c, Shared: expert.FFN{Hidden: 3},
					Expert: expert.SwiGLU{Hidden: 5}, Topology: alltoall.Nodes(3, 2), Wire: alltoall.Wire{Finite: true}}
				want := trainPadded(t, cfg, 0)
				nan := float32(math.NaN())
				for _, garbage := range fewer([]float32{nan, float32(math.Inf(-1)), 1e30, -math.MaxFloat32}, nan) {
					require.Equal(t, want, trainPadded(t, cfg, garbage), "padding of %v", garbage)
				}
			})
		}
	}
}

// trainPadded takes two steps on three ranks and returns the text of all that a layer returns and
// tells but times: NaNs are equal there.
func trainPadded(t *testing.T, cfg Config, garbage float32) (seen [3]string) {
	t.Helper()
	for rank, err := range onRanks(inprocWorlds(3), func(w *World) error {
		ctx := context.Background()
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		x, dy, side := paddedBatch(int(w.Rank()), garbage)
		for range 2 {
			y, err := l.ForwardBatch(ctx, x, side)
			if err != nil {
				return err
			}
			s := l.Stats()
			s.Exchanging, s.Compression.Time = 0, 0
			dx, err := l.Backward(ctx, dy)
			if err != nil {
				return err
			}
			seen[w.Rank()] += fmt.Sprintln(y.Data, dx.Data, s)
			g, err := l.Gradients(ctx)
			if err != nil {
				return err
			}
			if err := l.Step(ctx, &expert.SGD{LR: 0.1}); err != nil {
				return err
			}
			p, err := l.Parameters(ctx)
			if err != nil {
				return err
			}
			seen[w.Rank()] += fmt.Sprintln(g, p)
		}
		y, err := l.EvalBatch(ctx, x, side)
		seen[w.Rank()] += fmt.Sprintln(y.Data)
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
	return seen
}
