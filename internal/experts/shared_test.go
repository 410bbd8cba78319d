package experts_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/router"
)

// TestSharedAnswersAllButPadding: answers and gradients are added to what is there, and what stands
// in a row of dy that is padding changes nothing.
func TestSharedAnswersAllButPadding(t *testing.T) {
	one := expert.Shape{Dim: dim, First: 9, Count: 1, Seed: 7}
	stage, err := experts.New(experts.Config{Expert: kind, Shape: shape(), Shared: kind, Total: 9})
	require.NoError(t, err)
	s := stage.Shared
	x, dy := random(1, 3), random(2, 3)
	rows := expert.Rows{Experts: 1, FirstLeaf: 2, Leaves: 2, Ends: []int{1, 3}}
	padded := []bool{false, true, false}
	direct, err := kind.New(one)
	require.NoError(t, err)
	answers, saved := direct.Forward(x, rows)
	clean := mat.Resize(blas32.General{}, 3, dim)
	copy(clean.Data, dy.Data)
	clear(mat.Row(clean, 1))
	wantY, wantDX := ones(), ones()
	wantBack := direct.Backward(saved, clean)
	for _, i := range []int{0, 2} {
		for j := range dim {
			mat.Row(wantY, i)[j] += mat.Row(answers, i)[j]
			mat.Row(wantDX, i)[j] += mat.Row(wantBack, i)[j]
		}
	}
	y, dx := ones(), ones()
	tokens := tokensOf(x, rows.Ends)
	before := s.Forward(tokens, rows.FirstLeaf)
	s.Backward(&before, dy) // leaves its gradients behind, in every row
	s.Params().Grad.Reset()
	tokens.Info.Padding = padded
	p := s.Forward(tokens, rows.FirstLeaf)
	p.AddTo(y)
	s.Backward(&p, dy)
	p.AddGradientTo(dx)
	require.Equal(t, wantY, y)
	require.Equal(t, wantDX, dx)
	require.Equal(t, direct.Params().Grad.Total(), s.Params().Grad.Total())
	require.True(t, s.Params().Grad.Holds(2, 4))
}

func tokensOf(x blas32.General, ends []int) *batch.Tokens {
	return &batch.Tokens{X: x, Info: router.Batch{Ends: ends}}
}

func ones() blas32.General {
	m := mat.Resize(blas32.General{}, 3, dim)
	for i := range m.Data {
		m.Data[i] = 1
	}
	return m
}

// TestNoSharedExpert adds nothing.
func TestNoSharedExpert(t *testing.T) {
	var s *experts.Shared
	require.Nil(t, s.Params())
	p := s.Forward(&batch.Tokens{X: random(1, 3)}, 0)
	y := ones()
	p.AddTo(y)
	s.Backward(&p, random(2, 3))
	p.AddGradientTo(y)
	require.Equal(t, ones(), y)
}
