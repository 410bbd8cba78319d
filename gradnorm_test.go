package switchyard

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// normLayer has all kinds of parameters, and seven experts: no power of two.
func normLayer() Config {
	return Config{
		Dim: bitsDim, Experts: 7, Group: bitsGroup, Seed: 3,
		Router: router.TopK{K: 2, Losses: []router.Loss{router.Balance(0.1), router.ZLoss(0.01)}},
		Expert: expert.SwiGLU{Hidden: 5}, Shared: expert.FFN{Hidden: 3},
	}
}

// passOver takes this rank's share of matrices of bitsTokens rows forward and backward.
func passOver(ctx context.Context, w *World, l forwarder, x, dy blas32.General) error {
	mine := cutOf(w, [2]blas32.General{x, dy})
	if _, err := l.ForwardBatch(ctx, mine[0], router.Batch{}); err != nil {
		return err
	}
	_, err := l.Backward(ctx, mine[1])
	return err
}

// normsOn returns the norm of each of two layers, and that of both, after passes of the layers and
// that the test holds of the first.
func normsOn(t *testing.T, worlds []*World, cfg Config) (norms [3]float64) {
	t.Helper()
	r := rand.New(rand.NewPCG(8, 8))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for rank, err := range onRanks(worlds, func(w *World) error {
		ctx := t.Context()
		first, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		second, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		for _, l := range []forwarder{first, &heldPasses{Layer: first}, second} {
			if err := passOver(ctx, w, l, x, dy); err != nil {
				return err
			}
		}
		var got [3]float64
		for i, parts := range [][]Trainable{{first}, {second}, {first, second}} {
			if got[i], err = GradNorm(ctx, parts...); err != nil {
				return err
			}
		}
		want, err := wholeNorms(ctx, first, second)
		if err != nil {
			return err
		}
		for i := range got {
			require.InEpsilon(t, want[i], got[i], 1e-12)
		}
		if w.Rank() == 0 {
			norms = got
		}
		return nil
	}) {
		require.NoError(t, err, "rank %d of %d", rank, len(worlds))
	}
	return norms
}

// wholeNorms are the norms of two layers, and of both, by their gradients.
func wholeNorms(ctx context.Context, layers ...*Layer) (norms []float64, err error) {
	both := 0.0
	for _, l := range layers {
		tensors, err := l.Gradients(ctx)
		if err != nil {
			return nil, err
		}
		sum := 0.0
		for _, tensor := range tensors {
			for _, v := range tensor.Data {
				sum += float64(v) * float64(v)
			}
		}
		norms, both = append(norms, math.Sqrt(sum)), both+sum
	}
	return append(norms, math.Sqrt(both)), nil
}

// TestGradNormHasTheSameBits on any number of ranks and copies, over any transport, with experts
// spread evenly or not, and is the norm of the gradients.
func TestGradNormHasTheSameBits(t *testing.T) {
	needExactProducts(t)
	want := normsOn(t, inprocWorlds(1), normLayer())
	type layout struct {
		ranks, parallel int
		hosted          []int
	}
	for _, of := range fewer([]layout{
		{2, 2, nil}, {2, 1, nil}, {3, 3, nil}, {3, 3, []int{1, 0, 6}}, {4, 4, nil}, {4, 2, []int{2, 5}},
		{4, 1, nil}, {8, 8, nil}, {8, 8, []int{0, 3, 0, 0, 1, 1, 2, 0}}, {8, 4, nil}, {8, 2, []int{7, 0}},
	}, layout{3, 3, []int{1, 0, 6}}, layout{4, 2, []int{2, 5}}) {
		t.Run(fmt.Sprint(of), func(t *testing.T) {
			cfg := normLayer()
			cfg.ExpertParallel, cfg.Hosted = of.parallel, of.hosted
			require.Equal(t, want, normsOn(t, inprocWorlds(of.ranks), cfg))
			cfg.Order = rand.Perm(cfg.Experts)
			require.Equal(t, want, normsOn(t, inprocWorlds(of.ranks), cfg), cfg.Order)
		})
	}
	parts := normLayer()
	parts.Overlap.Degree, parts.Algorithm = 3, alltoall.Bruck
	require.Equal(t, want, normsOn(t, inprocWorlds(4), parts))
	transports := transportsUnderTest()
	for _, name := range fewer(slices.Collect(maps.Keys(transports)), "tcp") {
		open := transports[name]
		t.Run(name, func(t *testing.T) { require.Equal(t, want, normsOn(t, open(t, 3), parts)) })
	}
}

// TestGradNormSendsEightBytes to each other rank where each hosts the same power of two of experts.
func TestGradNormSendsEightBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for _, of := range []struct {
		experts, ranks, parallel int
		bytes                    []int // to each other rank
	}{
		{8, 4, 4, []int{8, 8, 8, 8}}, {8, 4, 2, []int{8, 8, 0, 0}}, {12, 4, 4, []int{16, 16, 16, 16}}, {7, 2, 2, []int{16, 24}}, {7, 2, 1, []int{24, 0}},
	} {
		cfg := normLayer()
		cfg.Experts, cfg.ExpertParallel = of.experts, of.parallel
		for rank, err := range onRanks(inprocWorlds(of.ranks), func(w *World) error {
			l, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			if err := passOver(t.Context(), w, l, x, dy); err != nil {
				return err
			}
			if _, err := l.GradNorm(t.Context()); err != nil { // sums over the ranks too
				return err
			}
			before := w.WireBytes()
			if _, err := l.GradNorm(t.Context()); err != nil {
				return err
			}
			require.EqualValues(t, of.bytes[w.Rank()]*(w.Size()-1), w.WireBytes()-before, "rank %d of %v", w.Rank(), of)
			return nil
		}) {
			require.NoError(t, err, "rank %d of %v", rank, of)
		}
	}
}

// onTwoLayers runs do on every rank of a world, for two layers that have gradients.
func onTwoLayers(t *testing.T, ranks int, cfg Config, do func(w *World, layers [2]*Layer) error) []error {
	t.Helper()
	r := rand.New(rand.NewPCG(8, 8))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	return onRanks(inprocWorlds(ranks), func(w *World) error {
		var layers [2]*Layer
		for i := range layers {
			l, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			layers[i] = l
			if err := passOver(t.Context(), w, l, x, dy); err != nil {
				return err
			}
		}
		return do(w, layers)
	})
}

func flatGradients(ctx context.Context, layers [2]*Layer) (all []float32, err error) {
	for _, l := range layers {
		tensors, err := l.Gradients(ctx)
		if err != nil {
			return nil, err
		}
		for _, tensor := range tensors {
			all = append(all, tensor.Data...)
		}
	}
	return all, nil
}

// TestClipGradients scales what two layers have together down to the greatest norm, and leaves it
// where the norm is not above that.
func TestClipGradients(t *testing.T) {
	cfg := normLayer()
	cfg.Router = router.TopK{K: 2} // with losses the gate's gradient has two parts, each rounded
	for rank, err := range onTwoLayers(t, 3, cfg, func(w *World, layers [2]*Layer) error {
		ctx := t.Context()
		before, err := flatGradients(ctx, layers)
		if err != nil {
			return err
		}
		norm, err := GradNorm(ctx, layers[0], layers[1])
		if err != nil {
			return err
		}
		for _, most := range []float64{norm, 2 * norm, math.Inf(1)} {
			got, err := ClipGradients(ctx, most, layers[0], layers[1])
			require.NoError(t, err)
			require.Equal(t, norm, got)
			after, err := flatGradients(ctx, layers)
			require.NoError(t, err)
			require.Equal(t, before, after)
		}
		got, err := ClipGradients(ctx, 0.75*norm, layers[0], layers[1])
		require.NoError(t, err)
		require.Equal(t, norm, got, "the norm before")
		after, err := flatGradients(ctx, layers)
		require.NoError(t, err)
		for i := range before {
			require.Equal(t, before[i]*0.75, after[i])
		}
		got, err = GradNorm(ctx, layers[0], layers[1])
		require.InEpsilon(t, 0.75*norm, got, 1e-6)
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestClippingThatRanksDisagreeOn is an error of all of them that changes nothing, and so is what
// is not finite, of experts or of what every rank has. Then the layers go on.
func TestClippingThatRanksDisagreeOn(t *testing.T) {
	errs := onTwoLayers(t, 3, normLayer(), func(w *World, layers [2]*Layer) error {
		ctx := t.Context()
		before, err := flatGradients(ctx, layers)
		require.NoError(t, err)
		most, factor := 1e-3, float32(0.5)
		if w.Rank() == 1 {
			most, factor = 2e-3, 0.25
		}
		_, clips := ClipGradients(ctx, most, layers[0], layers[1])
		for _, err := range []error{clips, layers[0].ScaleGradients(ctx, factor)} {
			require.ErrorIs(t, err, transport.ErrMismatch)
			require.NotErrorIs(t, err, ErrFailed)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
		}
		require.EqualError(t, clips, "switchyard: rank 1: ClipGradients: ranks disagree about the job: "+
			"its greatest norm is 0.002, that of rank 0 is 0.001")
		after, err := flatGradients(ctx, layers)
		require.NoError(t, err)
		require.Equal(t, before, after)
		_, err = ClipGradients(ctx, 1, layers[0], layers[1])
		return err
	})
	for rank, err := range errs {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestGradientsThatAreNotFinite are a norm, and an error of clipping that names them on every rank.
// After DiscardGradients the layers go on.
func TestGradientsThatAreNotFinite(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	huge := randomMatrix(r, bitsTokens, bitsDim)
	for i := range huge.Data {
		huge.Data[i] = math.MaxFloat32
	}
	texts := make([]string, 3)
	for rank, err := range onTwoLayers(t, 3, normLayer(), func(w *World, layers [2]*Layer) error {
		ctx := t.Context()
		if err := passOver(ctx, w, layers[1], x, huge); err != nil {
			return err
		}
		norm, err := GradNorm(ctx, layers[0], layers[1])
		require.NoError(t, err)
		require.NotZero(t, norm-norm)
		_, err = ClipGradients(ctx, 1, layers[0], layers[1])
		require.ErrorIs(t, err, alltoall.ErrNotFinite)
		require.NotErrorIs(t, err, ErrFailed)
		texts[w.Rank()] = err.Error()
		for _, l := range layers {
			require.NoError(t, l.DiscardGradients())
			if err := passOver(ctx, w, l, x, dy); err != nil {
				return err
			}
			if err := l.Step(ctx, expert.NewSGD(0.1)); err != nil {
				return err
			}
		}
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
	require.Contains(t, texts[0], "of layer 2")
	require.Equal(t, []string{texts[0], texts[0], texts[0]}, texts)
}

// TestANormThatIsBrokenOff ends all its layers on this rank. One whose context ends before it has
// begun, while the second layer is entered, ends none.
func TestANormThatIsBrokenOff(t *testing.T) {
	for rank, err := range onTwoLayers(t, 2, normLayer(), func(w *World, layers [2]*Layer) error {
		ctx := context.Background()
		if w.Rank() == 1 {
			return nil // it never comes, and leaves
		}
		_, err := GradNorm(endingAfter(1), layers[0], layers[1])
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, ErrFailed)
		_, first := GradNorm(endingAfter(2), layers[0], layers[1])
		require.ErrorIs(t, first, ErrFailed)
		for _, l := range layers {
			_, err := l.Eval(ctx, blas32.General{})
			require.ErrorIs(t, err, ErrFailed)
			require.ErrorContains(t, err, "switchyard: Eval: this layer failed earlier, in GradNorm: ")
			require.ErrorIs(t, l.DiscardGradients(), ErrFailed)
		}
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestScaleGradients multiplies what the next step uses, of passes that wait too, on
// one rank and on several.
func TestScaleGradients(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for _, ranks := range []int{1, 3} {
		for rank, err := range onRanks(inprocWorlds(ranks), func(w *World) error {
			var got [2][]Tensor
			for i, factor := range []float32{1, -0.5} {
				w.layers = 0 // the same seed
				l, err := NewLayer(w, normLayer())
				require.NoError(t, err)
				for _, of := range []forwarder{l, &heldPasses{Layer: l}, l} {
					if err := passOver(t.Context(), w, of, x, dy); err != nil {
						return err
					}
				}
				if err := l.ScaleGradients(t.Context(), factor); err != nil {
					return err
				}
				if got[i], err = l.Gradients(t.Context()); err != nil {
					return err
				}
			}
			for i, tensor := range got[0] {
				for j, v := range tensor.Data {
					require.Equal(t, -0.5*v, got[1][i].Data[j], tensor.Name)
				}
			}
			return nil
		}) {
			require.NoError(t, err, "rank %d of %d", rank, ranks)
		}
	}
}

// TestDiscardGradients leaves the layer as if the passes had not been, with every router: the bits
// of the steps after it are those without them.
func TestDiscardGradients(t *testing.T) {
	routers := everyRouter()
	for _, name := range fewer(slices.Collect(maps.Keys(routers)), "sigmoid", "quantile", "choice of all") {
		cfg := Config{Dim: 6, Experts: 4, Group: 4, Seed: 9, Router: routers[name], Expert: expert.SwiGLU{Hidden: 5}}
		t.Run(name, func(t *testing.T) {
			var want [3]string
			for _, discards := range []bool{false, true} {
				var got [3]string
				for rank, err := range onRanks(inprocWorlds(3), func(w *World) (err error) {
					got[w.Rank()], err = trainDiscarding(t.Context(), w, cfg, discards)
					return err
				}) {
					require.NoError(t, err, "rank %d", rank)
				}
				if !discards {
					want = got
				}
				require.Equal(t, want, got)
			}
		})
	}
}

// trainDiscarding takes two steps, between which it may take passes that it discards, and returns
// the parameters as text.
func trainDiscarding(ctx context.Context, w *World, cfg Config, discards bool) (string, error) {
	l, err := NewLayer(w, cfg)
	if err != nil {
		return "", err
	}
	other := &heldPasses{Layer: l}
	pass := func(of forwarder, from int, sign float32) error {
		x, dy, side := paddedBatch(from, 0)
		for i := range x.Data {
			x.Data[i] *= sign
		}
		if _, err := of.ForwardBatch(ctx, x, side); err != nil {
			return err
		}
		_, err := of.Backward(ctx, dy)
		return err
	}
	me := int(w.Rank())
	for range 2 {
		for i := range 2 {
			for _, of := range []forwarder{l, other, l}[i:] {
				if discards {
					if err := pass(of, me, -1); err != nil {
						return "", err
					}
				}
			}
			if err := l.DiscardGradients(); err != nil {
				return "", err
			}
		}
		for _, of := range []forwarder{l, other} {
			if err := pass(of, me, 1); err != nil {
				return "", err
			}
		}
		if err := l.Step(ctx, expert.NewSGD(0.1)); err != nil {
			return "", err
		}
	}
	p, err := l.Parameters(ctx)
	return fmt.Sprint(p), err
}

// BenchmarkGradNorm times the norm beside what a step takes besides, on one rank: the passes, and
// Step with Adam.
func BenchmarkGradNorm(b *testing.B) {
	w := inprocWorlds(1)[0]
	defer w.Close()
	ctx, r, o := b.Context(), rand.New(rand.NewPCG(8, 8)), expert.NewAdam(1e-3)
	const dim, tokens = 256, 256
	l, err := NewLayer(w, Config{
		Dim: dim, Experts: 8, Group: 64, Router: router.TopK{K: 2}, Expert: expert.SwiGLU{Hidden: 1024},
	})
	require.NoError(b, err)
	x, dy := randomMatrix(r, tokens, dim), randomMatrix(r, tokens, dim)
	var spent [3]time.Duration
	for b.Loop() {
		for i, do := range []func() error{
			func() error { return stepPasses(ctx, l, x, dy) },
			func() error { _, err := l.GradNorm(ctx); return err },
			func() error { return l.Step(ctx, o) },
		} {
			begin := time.Now()
			require.NoError(b, do())
			spent[i] += time.Since(begin)
		}
	}
	for i, what := range []string{"passes", "norm", "step"} {
		b.ReportMetric(spent[i].Seconds()*1000/float64(b.N), what+"-ms")
	}
}

func stepPasses(ctx context.Context, l *Layer, x, dy blas32.General) error {
	if _, err := l.Forward(ctx, x); err != nil {
		return err
	}
	if _, err := l.Backward(ctx, dy); err != nil {
		return err
	}
	return l.ScaleGradients(ctx, 1) // so that the norm has nothing to sum
}
