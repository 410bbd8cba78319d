package switchyard

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

func sharedConfig() Config {
	cfg := smallConfig()
	cfg.Shared = expert.FFN{Hidden: 7, Activation: expert.GELU}
	return cfg
}

// TestSharedExpertAddsToTheRouted compares a layer with a shared expert with one without and with
// the expert by itself.
func TestSharedExpertAddsToTheRouted(t *testing.T) {
	alone(t, func(w *World) {
		ctx := context.Background()
		with, err := NewLayer(w, sharedConfig())
		require.NoError(t, err)
		w.layers = 0 // the same seed
		without, err := NewLayer(w, smallConfig())
		require.NoError(t, err)
		cfg := smallConfig()
		apart, err := sharedConfig().Shared.New(expert.Shape{Dim: cfg.Dim, First: cfg.Experts, Count: 1, Seed: cfg.Seed})
		require.NoError(t, err)

		r := rand.New(rand.NewPCG(3, 3))
		x, dy := randomMatrix(r, 5, cfg.Dim), randomMatrix(r, 5, cfg.Dim)
		side := router.Batch{Padding: []bool{false, false, true, false, false}}
		y, err := with.ForwardBatch(ctx, x, side)
		require.NoError(t, err)
		routed, err := without.ForwardBatch(ctx, x, side)
		require.NoError(t, err)
		answers, saved := apart.Forward(x, expert.Rows{Experts: 1, Leaves: 1, Ends: []int{5}})
		dx, err := with.Backward(ctx, dy)
		require.NoError(t, err)
		routedDX, err := without.Backward(ctx, dy)
		require.NoError(t, err)
		for i := range mat.Row(dy, 2) {
			mat.Row(dy, 2)[i] = 0
		}
		back := apart.Backward(saved, dy)
		for i := range y.Rows {
			for c := range y.Cols {
				if i == 2 {
					require.Zero(t, mat.Row(y, i)[c])
					require.Zero(t, mat.Row(dx, i)[c])
					continue
				}
				require.Equal(t, mat.Row(routed, i)[c]+mat.Row(answers, i)[c], mat.Row(y, i)[c])
				require.Equal(t, mat.Row(routedDX, i)[c]+mat.Row(back, i)[c], mat.Row(dx, i)[c])
			}
		}
		gradients, err := with.Gradients(ctx)
		require.NoError(t, err)
		last := gradients[len(gradients)-4:]
		for i, tensor := range apart.Params().Tensors() {
			require.Equal(t, "shared."+tensor.Name, last[i].Name)
			neartest.Equal(t, apart.Params().Of(apart.Params().Grad.Total(), i), last[i].Data, 1e-5)
		}
	})
}

func TestSharedParametersLoad(t *testing.T) {
	alone(t, func(w *World) {
		a, err := NewLayer(w, sharedConfig())
		require.NoError(t, err)
		cfg := sharedConfig()
		cfg.Seed++
		b, err := NewLayer(w, cfg)
		require.NoError(t, err)
		want, err := a.Parameters(context.Background())
		require.NoError(t, err)
		require.NoError(t, b.Load(want))
		got, err := b.Parameters(context.Background())
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

// TestBiasFollowsTheLoadAndIsSaved with the parameters.
func TestBiasFollowsTheLoadAndIsSaved(t *testing.T) {
	alone(t, func(w *World) {
		ctx := context.Background()
		cfg := smallConfig()
		cfg.Router = router.TopK{K: 1, Score: router.Sigmoid, BiasRate: 0.25}
		layer, err := NewLayer(w, cfg)
		require.NoError(t, err)
		x := randomMatrix(rand.New(rand.NewPCG(3, 3)), 9, cfg.Dim)
		_, err = layer.Forward(ctx, x)
		require.NoError(t, err)
		counts := layer.Stats().Choices
		_, err = layer.Backward(ctx, x)
		require.NoError(t, err)
		require.NoError(t, layer.Step(ctx, expert.NewSGD(0.01)))
		list, err := layer.Parameters(ctx)
		require.NoError(t, err)
		bias := list[len(list)-1]
		require.Equal(t, "balance.bias", bias.Name)
		for e, n := range counts {
			switch {
			case 4*n < 9:
				require.Equal(t, float32(0.25), bias.Data[e])
			default:
				require.Equal(t, float32(-0.25), bias.Data[e])
			}
		}
		bias.Data[0] = 7
		require.NoError(t, layer.Load([]Tensor{bias}))
		loaded, err := layer.Parameters(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 7, loaded[len(loaded)-1].Data[0])
	})
}

// kindsOf is an optimizer that notes the kinds of the sets that it is given.
type kindsOf struct{ seen []param.Kind }

func (o *kindsOf) Update(p *param.Set, _ []float32) { o.seen = append(o.seen, p.Kind) }

// TestParametersHaveKinds for optimizers and in the list of tensors.
func TestParametersHaveKinds(t *testing.T) {
	alone(t, func(w *World) {
		ctx := context.Background()
		cfg := smallConfig()
		cfg.Router = router.TopK{K: 1, Score: router.Sigmoid, BiasRate: 0.25}
		cfg.Shared = expert.FFN{Hidden: 3}
		cfg.Compression = Compression{When: CompressAlways, LSH: lsh.Config{Compensation: lsh.LearnedGain}}
		layer, err := NewLayer(w, cfg)
		require.NoError(t, err)
		x := randomMatrix(rand.New(rand.NewPCG(3, 3)), 9, cfg.Dim)
		_, err = layer.Forward(ctx, x)
		require.NoError(t, err)
		_, err = layer.Backward(ctx, x)
		require.NoError(t, err)
		var optimizer kindsOf
		require.NoError(t, layer.Step(ctx, &optimizer))
		require.Equal(t, []param.Kind{param.Gate, param.Expert, param.Shared, param.Gain}, slices.Compact(optimizer.seen))
		list, err := layer.Parameters(ctx)
		require.NoError(t, err)
		for _, tensor := range list {
			prefix, _, _ := strings.Cut(tensor.Name, ".")
			want := map[string]param.Kind{
				"gate": param.Gate, "expert": param.Expert, "shared": param.Shared,
				"compression": param.Gain, "balance": param.Bias,
			}[prefix]
			require.Equal(t, want, tensor.Kind, tensor.Name)
		}
	})
}
