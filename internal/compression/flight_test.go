package compression_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// controlled hashes, with a control loop.
func controlled(turn *lifecycle.Turn) compression.Config {
	return compression.Config{
		Dim: dim, Experts: experts, Placement: alltoall.Even(experts, 1),
		LSH:  lsh.Config{Bucketing: lsh.Controlled, Rate: 0.5, Compensation: lsh.LearnedGain, Gain: 0.5},
		Turn: turn,
	}
}

// apart has leaves entered into a sum of the pass.
type apart struct {
	turn  *lifecycle.Turn
	gains *param.Set
	own   *tree.Sum
}

func (a apart) Do(do func()) {
	a.turn.Do(func() {
		a.gains.Grad.Swap(a.own)
		do()
		a.gains.Grad.Swap(a.own)
	})
}

// bothWays runs a pass forward and backward, and returns all that it makes.
func bothWays(s *compression.Stage, turn *lifecycle.Turn, number uint64) (made []float32, err error) {
	ctx := context.Background()
	rows, _ := rowsOf(number)
	p, err := s.Begin(ctx, number, rows)
	if err != nil {
		return nil, err
	}
	defer p.Release()
	made = slices.Clone(p.Centroids.Data)
	answers, err := s.Restore(ctx, p, identity(p))
	if err != nil {
		return nil, err
	}
	made = append(made, answers.Data...)
	_, dy := rowsOf(number + 100)
	given := mat.Resize(blas32.General{}, dy.Rows, dim)
	copy(given.Data, dy.Data)
	gains := tree.NewSum(len(s.Gains().Value))
	leaves := compression.Leaves{Count: 2, Of: apart{turn, s.Gains(), gains}}
	back, err := s.RestoreBackward(ctx, p, given, leaves)
	if err != nil {
		return nil, err
	}
	copied := mat.Resize(blas32.General{}, back.Rows, dim)
	copy(copied.Data, back.Data)
	dx, err := s.CompressBackward(ctx, p, given, copied)
	s.EndPass(number, p, rows)
	return append(append(made, dx.Data...), gains.Total()...), err
}

// TestPassesInFlight have the bits that each would have alone. What the control loop learns from
// them counts when all have ended, as if they had ended in the order of their numbers.
func TestPassesInFlight(t *testing.T) {
	const passes = 6
	turn := &lifecycle.Turn{Lock: new(sync.Mutex)}
	fresh := func() *compression.Stage {
		s, err := compression.New(controlled(turn))
		require.NoError(t, err)
		return s
	}
	var want [passes][]float32
	var depths []float64
	for i := range want {
		s := fresh()
		s.Open()
		var err error
		want[i], err = bothWays(s, turn, uint64(i))
		require.NoError(t, err)
		s.Close()
		depths = s.Depths()
	}
	s := fresh()
	for range want {
		s.Open()
	}
	before := s.Depths()
	var got [passes][]float32
	var errs [passes]error
	var wg sync.WaitGroup
	for i := range passes {
		wg.Go(func() {
			got[passes-1-i], errs[passes-1-i] = bothWays(s, turn, uint64(passes-1-i))
		})
	}
	wg.Wait()
	for i := range passes {
		require.NoError(t, errs[i])
		require.Equal(t, want[i], got[i], "pass %d", i)
	}
	require.Equal(t, before, s.Depths(), "passes are in flight")
	for range want {
		s.Close()
	}
	require.Equal(t, depths, s.Depths())
	require.NotEqual(t, before, depths)
}
