package router

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// linear is the gate of almost every model: logits = x·W, without bias.
type linear struct{ set *param.Set }

// newLinear draws W, Dim × Experts, uniformly from ±1/√Dim, so that logits of normalised tokens are
// of order one. Uniform, because its bits are the same on every processor.
func newLinear(s Shape) linear {
	l := linear{param.NewSet(param.Tensor{Name: "gate", Shape: []int{s.Dim, s.Experts}})}
	r := rand.New(rand.NewPCG(s.Seed, 0x6a7e))
	limit := 1 / math.Sqrt(float64(s.Dim))
	for i := range l.set.Value {
		l.set.Value[i] = float32((2*r.Float64() - 1) * limit)
	}
	return l
}

func (l linear) params() *param.Set { return l.set }

func (l linear) weights() blas32.General { return l.set.Matrix(l.set.Value, 0) }

func (l linear) forward(logits blas32.General, in *input) { multiply(logits, in.x, l.weights()) }

func (l linear) backward(dx, dlogits blas32.General, in *input, firstLeaf int) {
	leaves(l.set, in.x, in.Ends, firstLeaf, dlogits)
	if dx.Rows != 0 {
		gemm.Gemm(blas.NoTrans, blas.Trans, dlogits, l.weights(), 1, dx)
	}
}

// leaves gives the gradient of the set's first matrices, all of which multiply x: a leaf for each
// token group, in which matrix i has xᵀ·d[i]; none if the set is frozen.
func leaves(set *param.Set, x blas32.General, ends []int, firstLeaf int, d ...blas32.General) {
	if set.Frozen {
		return
	}
	begin := 0
	for g, end := range ends {
		// A token group without tokens has a leaf too, so that the tree's shape does not depend on which
		// are empty.
		leaf := set.Grad.Leaf(firstLeaf + g)
		for i := range d {
			if begin < end {
				gemm.Gemm(blas.Trans, blas.NoTrans, mat.Rows(x, begin, end), mat.Rows(d[i], begin, end), 0, set.Matrix(leaf, i))
			}
		}
		begin = end
	}
}

// multiply sets dst to x·w.
func multiply(dst, x, w blas32.General) {
	if x.Rows != 0 {
		gemm.Gemm(blas.NoTrans, blas.NoTrans, x, w, 0, dst)
	}
}
