package switchyard

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
)

// noisyConfig is a layer whose tensors are all drawn, and whose gate draws noise.
func noisyConfig() Config {
	cfg := smallConfig()
	cfg.Router = router.NoisyTopK{TopK: router.TopK{K: 1}, Noise: router.FixedGaussian, Amount: 10}
	cfg.Shared = expert.FFN{Hidden: 3, NoBias: true}
	return cfg
}

// threeLayers makes three layers of one Config on a number of ranks, in a world whose order is
// turned around before the last, and returns what rank 0 sees of each: its parameters, and where it
// routes tokens while training.
func threeLayers(t *testing.T, ranks int) (tensors [3][]Tensor, loads [3][]int) {
	t.Helper()
	x := randomMatrix(rand.New(rand.NewPCG(4, 4)), 40, 6)
	for rank, err := range onRanks(inprocWorlds(ranks), func(w *World) error {
		ctx := context.Background()
		for i := range tensors {
			if i == 2 {
				order := make([]int, ranks)
				for r := range order {
					order[r] = ranks - 1 - r
				}
				var err error
				if w, err = w.Reordered(order); err != nil {
					return err
				}
			}
			l, err := NewLayer(w, noisyConfig())
			if err != nil {
				return err
			}
			mine := part(x, 0, 0)
			if w.Rank() == 0 {
				mine = x
			}
			if _, err := l.Forward(ctx, mine); err != nil {
				return err
			}
			p, err := l.Parameters(ctx)
			if err != nil {
				return err
			}
			if w.Rank() == 0 {
				tensors[i], loads[i] = p, slices.Clone(l.Stats().Choices)
			}
		}
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
	return tensors, loads
}

// TestLayersOfOneConfigDiffer in every tensor and in their noise, alike on any number of ranks.
func TestLayersOfOneConfigDiffer(t *testing.T) {
	tensors, loads := threeLayers(t, 1)
	for _, pair := range [][2]int{{0, 1}, {0, 2}, {1, 2}} {
		a, b := tensors[pair[0]], tensors[pair[1]]
		require.Len(t, b, len(a))
		require.Len(t, a, 6) // gate; three of SwiGLU; two of FFN
		for i := range a {
			require.Equal(t, a[i].Name, b[i].Name)
			require.NotEqual(t, a[i].Data, b[i].Data, "%s of layers %v", a[i].Name, pair)
		}
		require.NotEqual(t, loads[pair[0]], loads[pair[1]], "noise of layers %v", pair)
	}
	for ranks := 2; ranks <= 4; ranks++ {
		got, gotLoads := threeLayers(t, ranks)
		require.Equal(t, tensors, got, "%d ranks", ranks)
		require.Equal(t, loads, gotLoads, "%d ranks", ranks)
	}
}

// TestTheFirstLayerHasTheSeedItself: it begins as its router and its experts would alone.
func TestTheFirstLayerHasTheSeedItself(t *testing.T) {
	alone(t, func(w *World) {
		cfg := smallConfig()
		l, err := NewLayer(w, cfg)
		require.NoError(t, err)
		gate, err := cfg.Router.New(router.Shape{Dim: cfg.Dim, Experts: cfg.Experts, Seed: cfg.Seed})
		require.NoError(t, err)
		p, err := l.Parameters(t.Context())
		require.NoError(t, err)
		require.Equal(t, gate.Params().Value, p[0].Data)
	})
}
