package router

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// SideFeatures is a linear gate that reads features instead of the tokens: the sampled architecture
// of a supernet, the language or the task of a sequence, a position. They come with the batch, a
// row for each token, in [Batch.Features]; if all rows are equal, all tokens of a batch have the
// same experts. The steps after the logits are those of [TopK]. Neither the tokens nor the features
// get a gradient from the gate.
//
// (Jawahar et al. 2024, Mixture-of-Supernets, whose gate sees the architecture.)
type SideFeatures struct {
	TopK
	// Columns is the number of features.
	Columns int
}

var _ Router = SideFeatures{}

// New is described at [Router]. The parameters are one tensor, "gate", Columns × Experts, drawn
// uniformly from ±1/√Columns.
func (r SideFeatures) New(s Shape) (Gate, error) {
	p := overrides{name: "SideFeatures"}
	if r.Columns < 1 || r.Columns > check.MaxSize {
		p.faults = append(p.faults, fmt.Errorf("router: SideFeatures: %d features, want 1 to %d", r.Columns, check.MaxSize))
	} else {
		p.faults = tooLarge([]int{r.Columns, s.Experts})
	}
	if len(p.faults)+len(checkShape(s)) == 0 {
		p.projection = featureProjection{newLinear(Shape{Dim: r.Columns, Experts: s.Experts, Seed: s.Seed})}
	}
	return r.build(s, p)
}

// featureProjection is a linear projection of the features.
type featureProjection struct{ linear }

func (p featureProjection) check(in *input) error {
	if n := in.Features.Rows; n != in.x.Rows {
		return fmt.Errorf("router: SideFeatures: %d rows of features for %d tokens", n, in.x.Rows)
	}
	if err := check.Matrix(in.Features, p.set.Tensors()[0].Shape[0]); err != nil {
		return errtext.Errorf("router: SideFeatures: Features has %w", err)
	}
	return nil
}

func (p featureProjection) forward(logits blas32.General, in *input) {
	multiply(logits, in.Features, p.weights())
}

func (p featureProjection) backward(_, dlogits blas32.General, in *input, firstLeaf int) {
	leaves(p.set, in.Features, in.Ends, firstLeaf, dlogits)
}
