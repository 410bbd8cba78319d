package router

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/param"
)

// projection makes the logits of tokens.
type projection interface {
	params() *Params
	// forward fills logits, tokens × experts.
	forward(logits, x blas32.General)
	// backward adds to dx what dlogits asks for. leaves are the groups' gradients of the parameters, one after the other.
	backward(dx, dlogits, x blas32.General, ends []int, firstLeaf int)
}

// linear is the gate of almost every model: logits = x·W, without bias.
type linear struct{ set *param.Set }

// newLinear draws W, Dim × Experts, uniformly from ±1/√Dim, so that logits of normalised tokens are of order one.
// Uniform, because its bits are the same on every processor.
func newLinear(s Shape) linear {
	l := linear{param.NewSet(param.Tensor{Name: "gate", Shape: []int{s.Dim, s.Experts}})}
	r := rand.New(rand.NewPCG(s.Seed, 0x6a7e))
	limit := 1 / math.Sqrt(float64(s.Dim))
	for i := range l.set.Value {
		l.set.Value[i] = float32((2*r.Float64() - 1) * limit)
	}
	return l
}

func (l linear) params() *Params { return l.set }

func (l linear) weights() blas32.General { return l.set.Matrix(l.set.Value, 0) }

func (l linear) forward(logits, x blas32.General) {
	if x.Rows != 0 {
		gemm.Gemm(blas.NoTrans, blas.NoTrans, x, l.weights(), 0, logits)
	}
}

func (l linear) backward(dx, dlogits, x blas32.General, ends []int, firstLeaf int) {
	begin := 0
	for g, end := range ends {
		// A group without tokens has a leaf too, so that the tree's shape does not depend on which are empty.
		leaf := l.set.Grad.Leaf(firstLeaf + g)
		if begin < end {
			gemm.Gemm(blas.Trans, blas.NoTrans, rowRange(x, begin, end), rowRange(dlogits, begin, end), 0, l.set.Matrix(leaf, 0))
		}
		begin = end
	}
	if x.Rows != 0 {
		gemm.Gemm(blas.NoTrans, blas.Trans, dlogits, l.weights(), 1, dx)
	}
}
