package switchyard

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

func smallConfig() Config {
	return Config{Dim: 6, Experts: 4, Group: 2, Seed: 9, Router: router.TopK{K: 2}, Expert: expert.SwiGLU{Hidden: 5}}
}

// alone runs do on a world of one rank.
func alone(t *testing.T, do func(w *World)) {
	t.Helper()
	w := inprocWorlds(1)[0]
	defer func() { require.NoError(t, w.Close()) }()
	do(w)
}

func TestARankThatCannotRouteFailsAllAndHarmsNone(t *testing.T) {
	for _, parallel := range []int{4, 2, 1} {
		cfg := smallConfig()
		cfg.ExpertParallel = parallel
		x := randomMatrix(rand.New(rand.NewPCG(1, 1)), 4, cfg.Dim)
		errs := onRanks(inprocWorlds(4), func(w *World) error {
			ctx := context.Background()
			layer, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			mine := x
			if w.Rank() == 2 {
				mine = randomMatrix(rand.New(rand.NewPCG(1, 1)), 4, cfg.Dim)
				mine.Data[cfg.Dim] = float32(math.NaN())
			}
			_, err = layer.Forward(ctx, mine)
			if _, again := layer.Forward(ctx, x); again != nil {
				return fmt.Errorf("the next batch failed: %w", again)
			}
			return err
		})
		for r, culprit := range culprits(errs) {
			require.Equal(t, transport.Rank(2), culprit, "rank %d, parallel %d: %v", r, parallel, errs[r])
			require.ErrorIs(t, errs[r], alltoall.ErrRefused, "rank %d, parallel %d", r, parallel)
		}
		require.ErrorContains(t, errs[2], "token 1")
	}
}

func TestLayersThatDifferAreNamed(t *testing.T) {
	errs := onRanks(inprocWorlds(3), func(w *World) error {
		cfg := smallConfig()
		if w.Rank() == 1 {
			cfg.Router = router.TopK{K: 1}
		}
		_, err := NewLayer(w, cfg)
		return err
	})
	require.ErrorIs(t, errs[0], transport.ErrMismatch)
	require.ErrorContains(t, errs[0], "rank 1: NewLayer")
	require.ErrorContains(t, errs[0], "here Router=router.TopK{K:2")
	require.ErrorContains(t, errs[0], "there Router=router.TopK{K:1")
	require.Equal(t, transport.Rank(0), transport.CulpritOf(errs[1]))
}

func TestConfigReportsEveryFault(t *testing.T) {
	err := Config{Group: -2, MaxRows: -1, ExpertParallel: 3, Algorithm: 99}.Validate(4)
	for _, part := range []string{"switchyard: Config.Algorithm: alltoall: Algorithm is 99, want 0 to ", "Dim is 0", "Experts is 0", "Router is nil", "Expert is nil", "Group is -2", "MaxRows is -1", "ExpertParallel is 3, must divide the 4 ranks"} {
		require.ErrorContains(t, err, part)
	}
	alone(t, func(w *World) {
		cfg := smallConfig()
		cfg.Router = router.TopK{K: 9}
		_, err := NewLayer(w, cfg)
		require.ErrorContains(t, err, "K is 9")
	})
}

// TestPassesAddUp: two backward passes before a step give the sum of their gradients, on any number
// of ranks.
func TestPassesAddUp(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(5, 5))
	a, b := randomMatrix(r, 8, 6), randomMatrix(r, 8, 6)
	gradients := func(ranks int, batches ...blas32.General) []Tensor {
		var list []Tensor
		for r, err := range onRanks(inprocWorlds(ranks), func(w *World) error {
			layer, err := NewLayer(w, smallConfig())
			if err != nil {
				return err
			}
			n := 8 / ranks
			for _, x := range batches {
				mine := part(x, int(w.Rank())*n, int(w.Rank()+1)*n)
				if _, err := layer.Forward(context.Background(), mine); err != nil {
					return err
				}
				if _, err := layer.Backward(context.Background(), mine); err != nil {
					return err
				}
			}
			got, err := layer.Gradients(context.Background())
			if w.Rank() == 0 {
				list = got
			}
			return err
		}) {
			require.NoError(t, err, "rank %d", r)
		}
		return list
	}
	first, second := gradients(1, a), gradients(1, b)
	for _, ranks := range []int{1, 2, 4} {
		both := gradients(ranks, a, b)
		for i := range both {
			for j := range both[i].Data {
				require.Equal(t, first[i].Data[j]+second[i].Data[j], both[i].Data[j], "%s, %d ranks", both[i].Name, ranks)
			}
		}
	}
}

func TestEvalIsForwardThatKeepsNothing(t *testing.T) {
	alone(t, func(w *World) {
		layer, err := NewLayer(w, smallConfig())
		require.NoError(t, err)
		x := randomMatrix(rand.New(rand.NewPCG(6, 6)), 5, 6)
		y, err := layer.Forward(context.Background(), x)
		require.NoError(t, err)
		want := append([]float32(nil), y.Data...)
		require.NoError(t, layer.Discard())
		y, err = layer.Eval(context.Background(), x)
		require.NoError(t, err)
		sameBits(t, "y", want, y.Data)
		_, err = layer.Backward(context.Background(), x)
		require.ErrorContains(t, err, "no Forward waits")
		require.Equal(t, 5, layer.Stats().Tokens)
		require.Equal(t, 10, mat.Sum(layer.Stats().Choices))
		require.Equal(t, 10, mat.Sum(layer.Stats().Load))
	})
}

func TestLoadTakesWhatParametersGave(t *testing.T) {
	alone(t, func(w *World) {
		a, err := NewLayer(w, smallConfig())
		require.NoError(t, err)
		cfg := smallConfig()
		cfg.Seed++
		b, err := NewLayer(w, cfg)
		require.NoError(t, err)
		want, err := a.Parameters(context.Background())
		require.NoError(t, err)
		before, err := b.Parameters(context.Background())
		require.NoError(t, err)
		require.NotEqual(t, want, before)
		require.NoError(t, b.Load(want))
		got, err := b.Parameters(context.Background())
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.ErrorContains(t, b.Load([]Tensor{{Name: "expert.none"}}), `no tensor "expert.none"`)
		bad := want[0]
		bad.Shape = []int{1}
		require.ErrorContains(t, b.Load([]Tensor{bad}), "shape [1]")
	})
}

func TestACancelledContextEndsEveryRank(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	errs := onRanks(inprocWorlds(3), func(w *World) error {
		layer, err := NewLayer(w, smallConfig())
		if err != nil {
			return err
		}
		if w.Rank() == 2 { // never comes
			cancel()
			return nil
		}
		_, err = layer.Forward(ctx, randomMatrix(rand.New(rand.NewPCG(1, 1)), 2, 6))
		return err
	})
	require.Error(t, errs[0])
	require.Error(t, errs[1])
}
