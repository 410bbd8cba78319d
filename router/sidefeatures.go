package router

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"
)

// SideFeatures is a linear gate that looks at features beside the tokens in place of the tokens themselves: the sampled
// architecture of a supernet, the language or the task of a sequence, a position. They come with the batch, a row a
// token, in [Batch.Features]; where all rows are alike, the tokens of a batch all go the same way. What follows the logits is
// [TopK]'s. The tokens get no gradient from the gate, nor do the features.
//
// (Jawahar et al. 2024, Mixture-of-Supernets, whose gate sees the architecture.)
type SideFeatures struct {
	TopK
	// Columns is the number of features.
	Columns int
}

var _ Router = SideFeatures{}

// New is described at [Router]. The parameters are one tensor, "gate", Columns × Experts, drawn uniformly from ±1/√Columns.
func (r SideFeatures) New(s Shape) (Gate, error) {
	p := parts{name: "SideFeatures"}
	if r.Columns < 1 {
		p.faults = append(p.faults, fmt.Errorf("router: SideFeatures: %d features, want at least 1", r.Columns))
	}
	if len(p.faults)+len(checkShape(s)) == 0 {
		p.projection = beside{newLinear(Shape{Dim: r.Columns, Experts: s.Experts, Seed: s.Seed})}
	}
	return r.build(s, p)
}

// beside is a linear projection of the features.
type beside struct{ linear }

func (p beside) forward(logits blas32.General, in *input) {
	f := in.Features
	if want := p.set.Tensors()[0].Shape[0]; f.Rows != in.x.Rows || f.Rows != 0 && f.Cols != want {
		panic(fmt.Sprintf("router: SideFeatures: features of %d × %d for %d tokens, want %d columns", f.Rows, f.Cols, in.x.Rows, want))
	}
	multiply(logits, f, p.weights())
}

func (p beside) backward(_, dlogits blas32.General, in *input, firstLeaf int) {
	features := input{x: in.Features, Batch: in.Batch}
	leaves(p.set, &features, firstLeaf, dlogits)
}
