package switchyard

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport/shm"
)

// rounding is a layer and dense parameters whose gradients are summed in four bits, on one rank.
type rounding struct {
	w    *World
	l    *Layer
	d    *Dense
	sets [2]*param.Set
	adam *expert.Adam
}

// newRounding has two copies of the experts on an even number of ranks.
func newRounding(w *World, sums alltoall.Codec) (*rounding, error) {
	cfg := normLayer()
	cfg.Sums = sums
	if w.Size()%2 == 0 {
		cfg.ExpertParallel = w.Size() / 2
	}
	k := &rounding{w: w, adam: expert.NewAdam(0.01)}
	var err error
	if k.l, err = NewLayer(w, cfg); err != nil {
		return nil, err
	}
	if k.d, k.sets, err = twoDenseSets(w); err != nil {
		return nil, err
	}
	return k, k.d.SetSums(sums)
}

// pass enters the gradients of a pass that the number of its step gives.
func (k *rounding) pass(ctx context.Context, n int) error {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	if err := passOver(ctx, k.w, k.l, x, dy); err != nil {
		return err
	}
	return k.d.SumGradients(ctx, randomDensePass(r, 9).enter(k.w, k.sets))
}

func (k *rounding) step(ctx context.Context) error {
	if err := k.d.Step(ctx, k.adam); err != nil {
		return err
	}
	return k.l.Step(ctx, k.adam)
}

// text has all bits of the parameters.
func (k *rounding) text(ctx context.Context) (string, error) {
	p, err := k.l.Parameters(ctx)
	return fmt.Sprint(k.sets[0].Value, k.sets[1].Value, p), err
}

// TestRoundedSumsHaveTheSameBits on every rank and over every transport, with passes that add up
// and gradients that are clipped; and other bits than exact sums.
func TestRoundedSumsHaveTheSameBits(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for long")
	}
	needExactProducts(t)
	worlds := map[string]opener{
		"inproc": func(_ *testing.T, n int) []*World { return inprocWorlds(n) },
		"tcp":    func(t *testing.T, n int) []*World { return joinedWorlds(t, n, true) },
	}
	if shm.Supported {
		worlds["shm"] = worldsOver("shm")
	}
	for _, ranks := range []int{1, 3, 4} {
		texts := map[string]string{} // by transport; of exact sums
		var mu sync.Mutex
		for name, open := range worlds {
			for _, sums := range []alltoall.Codec{alltoall.NVFP4H, nil} {
				if sums == nil && name != "inproc" {
					continue
				}
				for rank, err := range onRanks(open(t, ranks), func(w *World) error {
					ctx := t.Context()
					k, err := newRounding(w, sums)
					if err != nil {
						return err
					}
					for n := range 4 {
						if err := k.pass(ctx, 2*n); err != nil {
							return err
						}
						if err := k.pass(ctx, 2*n+1); err != nil {
							return err
						}
						if _, err := ClipGradients(ctx, 0.5, k.d, k.l); err != nil {
							return err
						}
						if err := k.step(ctx); err != nil {
							return err
						}
					}
					text, err := k.text(ctx)
					mu.Lock()
					defer mu.Unlock()
					name := name
					if sums == nil {
						name = "exact"
					}
					if was, ok := texts[name]; ok {
						require.True(t, was == text, name)
					}
					texts[name] = text
					return err
				}) {
					require.NoError(t, err, "%s: rank %d of %d", name, rank, ranks)
				}
			}
		}
		for name, text := range texts {
			if name == "exact" && ranks > 1 {
				require.False(t, texts["inproc"] == text)
			} else {
				require.True(t, texts["inproc"] == text, name)
			}
		}
	}
}

// TestRoundedSumsGoOn from a saved state with the same bits, on as many ranks; on another number
// they go on too, with nothing lost.
func TestRoundedSumsGoOn(t *testing.T) {
	var layer, dense saved
	train := func(ranks, from, until int) (text string) {
		var mu sync.Mutex
		states := [2]saved{{}, {}}
		for rank, err := range onRanks(inprocWorlds(ranks), func(w *World) error {
			ctx := t.Context()
			k, err := newRounding(w, alltoall.Int4)
			require.NoError(t, err)
			if from > 0 {
				for i, of := range []interface {
					State(o expert.Optimizer) (*param.State, error)
				}{k.l, k.d} {
					state, err := of.State(k.adam)
					require.NoError(t, err)
					if err := []saved{layer, dense}[i].load(state); err != nil {
						return err
					}
				}
			}
			for n := from; n < until; n++ {
				if err := k.pass(ctx, n); err != nil {
					return err
				}
				if err := k.step(ctx); err != nil {
					return err
				}
			}
			all, err := k.text(ctx)
			require.NoError(t, err)
			ofLayer, err := k.l.State(k.adam)
			require.NoError(t, err)
			ofDense, err := k.d.State(k.adam)
			require.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			text = all
			require.NoError(t, states[0].add(ofLayer))
			return states[1].add(ofDense)
		}) {
			require.NoError(t, err, "rank %d of %d", rank, ranks)
		}
		if from == 0 {
			layer, dense = states[0], states[1]
		}
		return text
	}
	want := train(4, 0, 5)
	train(4, 0, 3)
	for _, name := range []string{"sums.gate", "sums.losses", "sums.shared", "sums.experts.0-2"} {
		require.True(t, layer[name+".rank-00000-of-00004"].Local, name)
	}
	require.True(t, dense["sums.embed.rank-00003-of-00004"].Local)
	require.True(t, want == train(4, 3, 5), "other parameters")
	require.False(t, want == train(2, 3, 5))
}

// TestRoundedGradientsThatAreNotFinite are found as exact ones are; once they are discarded the
// next step is as if they had not been.
func TestRoundedGradientsThatAreNotFinite(t *testing.T) {
	train := func(wrong bool) (text string) {
		for rank, err := range onRanks(inprocWorlds(3), func(w *World) error {
			ctx := t.Context()
			k, err := newRounding(w, alltoall.NVFP4)
			require.NoError(t, err)
			if wrong {
				require.NoError(t, k.pass(ctx, 1))
				leaves := []int{1, 1, 1}
				k.sets[0].Grad.Leaf(int(w.Rank()))[3] = float32(math.Inf(int(w.Rank()) - 1))
				require.NoError(t, k.d.SumGradients(ctx, leaves, "embed"))
				k.sets[1].Grad.Leaf(int(w.Rank()))[3] = 1
				require.NoError(t, k.d.SumGradients(ctx, leaves, "head"))
				_, err := ClipGradients(ctx, 1, k.l, k.d)
				require.ErrorIs(t, err, alltoall.ErrNotFinite)
				require.NotErrorIs(t, err, ErrFailed)
				require.ErrorContains(t, err, `set "embed"`)
				require.NoError(t, k.d.DiscardGradients())
				require.NoError(t, k.l.DiscardGradients())
			}
			require.NoError(t, k.pass(ctx, 2))
			require.NoError(t, k.step(ctx))
			all, err := k.text(ctx)
			if w.Rank() == 0 {
				text = all
			}
			return err
		}) {
			require.NoError(t, err, "rank %d", rank)
		}
		return text
	}
	require.True(t, train(false) == train(true), "other parameters")
}

// TestRoundedSumsSendLittle: of a layer of two copies of its experts and dense parameters, beside
// what exact sums send in a step.
func TestRoundedSumsSendLittle(t *testing.T) {
	const dim, tokens = 64, 16
	for codec, most := range map[alltoall.Codec]float64{alltoall.FP8: 0.28, alltoall.Int8: 0.28, alltoall.NVFP4H: 0.16, alltoall.Int4H: 0.16} {
		var sent [2]uint64
		for i, sums := range []alltoall.Codec{nil, codec} {
			for rank, err := range onRanks(inprocWorlds(4), func(w *World) error {
				ctx := t.Context()
				l, err := NewLayer(w, Config{
					Dim: dim, Experts: 4, Group: 4, Router: normLayer().Router, Expert: expert.FFN{Hidden: 128},
					Shared: expert.FFN{Hidden: 64}, ExpertParallel: 2, Sums: sums,
				})
				require.NoError(t, err)
				set := param.NewSet(param.Tensor{Name: "w", Shape: []int{dim, 4 * dim}})
				d, err := NewDense(w, NamedSet{"dense", set})
				require.NoError(t, err)
				require.NoError(t, d.SetSums(sums))
				x := randomMatrix(rand.New(rand.NewPCG(1, uint64(w.Rank()))), tokens, dim)
				if _, err := l.Forward(ctx, x); err != nil {
					return err
				}
				if _, err := l.Backward(ctx, blas32.General{Rows: tokens, Cols: dim, Stride: dim, Data: x.Data}); err != nil {
					return err
				}
				set.Grad.Leaf(int(w.Rank()))[5] = 1
				before := w.WireBytes()
				if err := d.SumGradients(ctx, []int{1, 1, 1, 1}); err != nil {
					return err
				}
				if _, err := l.Gradients(ctx); err != nil {
					return err
				}
				gathered := w.WireBytes()
				if _, err := l.Gradients(ctx); err != nil { // which sums nothing
					return err
				}
				if w.Rank() == 1 {
					sent[i] = gathered - before - (w.WireBytes() - gathered)
				}
				return nil
			}) {
				require.NoError(t, err, "%v: rank %d", sums, rank)
			}
		}
		require.Less(t, float64(sent[1]), most*float64(sent[0]), "%v: %d bytes, exact sums %d", codec, sent[1], sent[0])
	}
}

// TestSumsThatCannotBe are refused: by NewLayer, by SetSums, or where ranks differ.
func TestSumsThatCannotBe(t *testing.T) {
	alone(t, func(w *World) {
		cfg := smallConfig()
		cfg.Sums = alltoall.Format(99)
		_, err := NewLayer(w, cfg)
		require.ErrorContains(t, err, "Config.Sums: is Format(99), want one of")
		d, sets, err := twoDenseSets(w)
		require.NoError(t, err)
		require.ErrorContains(t, d.SetSums(alltoall.Format(99)), "SetSums: is Format(99), want one of")
		require.ErrorContains(t, (*Dense)(nil).SetSums(nil), "SetSums: the parameters were not grouped by NewDense")
		sets[0].Grad.Leaf(0)[0], sets[1].Grad.Leaf(0)[0] = 1, 1
		require.NoError(t, d.SumGradients(t.Context(), []int{1}))
		require.ErrorContains(t, d.SetSums(alltoall.FP8), "SetSums: ")
	})
	for _, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := smallConfig()
		cfg.Sums = []alltoall.Codec{alltoall.FP8, alltoall.Int8}[w.Rank()]
		_, err := NewLayer(w, cfg)
		return err
	}) {
		require.ErrorContains(t, err, "Sums=alltoall.Format ")
	}
	for _, err := range onRanks(inprocWorlds(2), func(w *World) error {
		d, sets, err := twoDenseSets(w)
		require.NoError(t, err)
		require.NoError(t, d.SetSums([]alltoall.Codec{alltoall.FP8, alltoall.Int8}[w.Rank()]))
		sets[0].Grad.Leaf(int(w.Rank()))[0], sets[1].Grad.Leaf(int(w.Rank()))[0] = 1, 1
		return d.SumGradients(t.Context(), []int{1, 1})
	}) {
		require.ErrorIs(t, err, ErrFailed)
		require.ErrorContains(t, err, "its vectors or its codec are not those of this rank")
	}
}
