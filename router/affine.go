package router

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// affine is a linear gate with a trained bias of each expert's logit: logits = x·W + b.
type affine struct{ linear }

// newAffine draws W as newLinear does; b begins at 0.
func newAffine(s Shape) affine {
	set := param.NewSet(param.Tensor{Name: "gate", Shape: []int{s.Dim, s.Experts}},
		param.Tensor{Name: "gate_bias", Shape: []int{s.Experts}})
	copy(set.Of(set.Value, 0), newLinear(s).set.Value)
	return affine{linear{set}}
}

func (a affine) forward(logits blas32.General, in *input) {
	bias := a.set.Of(a.set.Value, 1)
	for t := range logits.Rows {
		copy(mat.Row(logits, t), bias)
	}
	if logits.Rows != 0 {
		gemm.Gemm(blas.NoTrans, blas.NoTrans, in.x, a.weights(), 1, logits)
	}
}

func (a affine) backward(dx, dlogits blas32.General, in *input, firstLeaf int) {
	if dx.Rows != 0 {
		gemm.Gemm(blas.NoTrans, blas.Trans, dlogits, a.weights(), 1, dx)
	}
	if a.set.Frozen {
		return
	}
	begin := 0
	for g, end := range in.Ends {
		leaf := a.set.Grad.Leaf(firstLeaf + g)
		if begin < end {
			d := mat.Rows(dlogits, begin, end)
			gemm.Gemm(blas.Trans, blas.NoTrans, mat.Rows(in.x, begin, end), d, 0, a.set.Matrix(leaf, 0))
			bias := a.set.Of(leaf, 1)
			for t := range d.Rows {
				f32.Add(bias, mat.Row(d, t))
			}
		}
		begin = end
	}
}
