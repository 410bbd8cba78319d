// Products of OpenBLAS have other bits where other numbers of rows are multiplied together.
//go:build !openblas

package expert_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/expert/experttest"
	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/param"
)

// shardable are the kinds that can be cut, with a number of hidden units.
func shardable(hidden int) map[string]expert.Shardable {
	return map[string]expert.Shardable{
		"swiglu": expert.SwiGLU{Hidden: hidden},
		"relu":   expert.FFN{Hidden: hidden, NoBias: true},
		"gelu":   expert.FFN{Hidden: hidden, NoBias: true, Activation: expert.GELU},
	}
}

// pass is what a group makes of rows: answers, gradients of the rows, and of the parameters.
type shardPass struct{ y, dx, grad []float32 }

func shardPassOf(g expert.Group, x, dy blas32.General, rows expert.Rows) (p shardPass) {
	y, saved := g.Forward(x, rows)
	p.y = slices.Clone(y.Data)
	p.dx = slices.Clone(g.Backward(saved, dy).Data)
	p.grad = slices.Clone(g.Params().Grad.Total())
	g.Params().Grad.Reset()
	return p
}

// eachShared calls f for each number of a part, and that number in the whole, whose part has
// hidden units from first on.
func eachShared(part, whole *param.Set, first int, f func(part, whole int)) {
	at, start := 0, 0
	for t := range part.Tensors() {
		of, in := part.Tensors()[t].Shape, whole.Tensors()[t].Shape
		for e := range of[0] {
			for i := range of[1] {
				for j := range of[2] {
					row, col := i, j
					if of[1] < in[1] {
						row += first
					} else if of[2] < in[2] {
						col += first
					}
					f(at, start+(e*in[1]+row)*in[2]+col)
					at++
				}
			}
		}
		start += whole.Tensors()[t].Len()
	}
}

// TestShards: a part has the numbers of the whole, and answers with the bits of a whole whose other
// hidden units count nothing; all parts add up to the whole, and their gradients are the whole's.
func TestShards(t *testing.T) {
	const hidden, dim, count, rows = 11, 6, 3, 10
	for name, kind := range shardable(hidden) {
		for parts := 1; parts <= 4; parts++ {
			t.Run(fmt.Sprint(name, " in ", parts), func(t *testing.T) {
				r := seeded(t)
				shape := expert.Shape{Dim: dim, First: 2, Count: count, Seed: r.Uint64()}
				x, dy := random(r, rows, dim), random(r, rows, dim)
				of := expert.Rows{Experts: count, Leaves: 2, Ends: []int{2, 4, 4, 7, 8, rows}}
				g, err := kind.New(shape)
				require.NoError(t, err)
				whole := shardPassOf(g, x, dy, of)
				y, dx := make([]float64, len(whole.y)), make([]float64, len(whole.dx))
				numbers := 0
				for i := range parts {
					part, err := kind.Shard(i, parts)
					require.NoError(t, err)
					p, err := part.New(shape)
					require.NoError(t, err)
					first := i * hidden / parts
					masked, err := kind.New(shape)
					require.NoError(t, err)
					last := len(masked.Params().Tensors()) - 1
					clear(masked.Params().Of(masked.Params().Value, last))
					got := shardPassOf(p, x, dy, of)
					eachShared(p.Params(), g.Params(), first, func(at, in int) {
						require.Equal(t, g.Params().Value[in], p.Params().Value[at])
						require.Equal(t, whole.grad[in], got.grad[at])
						masked.Params().Value[in] = g.Params().Value[in]
						numbers++
					})
					want := shardPassOf(masked, x, dy, of)
					require.Equal(t, want.y, got.y)
					require.Equal(t, want.dx, got.dx)
					for k := range y {
						y[k], dx[k] = y[k]+float64(got.y[k]), dx[k]+float64(got.dx[k])
					}
				}
				require.Equal(t, len(g.Params().Value), numbers)
				for k := range y {
					neartest.Number(t, y[k], float64(whole.y[k]), 1e-5, "answer %d", k)
					neartest.Number(t, dx[k], float64(whole.dx[k]), 1e-5, "gradient %d", k)
				}
			})
		}
	}
}

// TestShardsAreExperts: a part is an expert like any other.
func TestShardsAreExperts(t *testing.T) {
	for _, kind := range shardable(5) {
		experttest.Run(t, func() expert.Expert {
			part, err := kind.Shard(1, 2)
			require.NoError(t, err)
			return part
		})
	}
}

func TestShardsThatCannotBe(t *testing.T) {
	for says, of := range map[string]struct {
		expert.Shardable
		part, parts int
	}{
		"part 2 of 2":               {expert.SwiGLU{Hidden: 4}, 2, 2},
		"part -1 of 2":              {expert.FFN{Hidden: 4, NoBias: true}, -1, 2},
		"part 0 of 0":               {expert.SwiGLU{Hidden: 4}, 0, 0},
		"4 hidden units in 5 parts": {expert.SwiGLU{Hidden: 4}, 0, 5},
		"an FFN with biases":        {expert.FFN{Hidden: 4}, 0, 2},
	} {
		_, err := of.Shard(of.part, of.parts)
		require.ErrorContains(t, err, says)
	}
}
