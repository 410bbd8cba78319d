package simulate

import (
	"github.com/switchyard-moe/switchyard/schedule"
)

// Layer is the work of one generalised layer in the forward pass of one micro-batch on one rank, by Op. Operations that the
// layer does not have are zero: no Gather and Scatter without expert sharding, only Dense for a layer without experts.
// Layer[GradReduce].Size is the whole gradient of the dense part, in elements.
type Layer [schedule.Ops]schedule.Work

// Backward returns the layer's work in the backward pass: what multiplies matrices does so twice, for the gradient of the
// input and of the weights; what moves rows moves as many gradients; counts are known from the forward pass.
func (l Layer) Backward() Layer {
	for _, op := range []schedule.Op{schedule.Dense, schedule.Route, schedule.Expert, schedule.Shared} {
		l[op] = l[op].Times(2)
	}
	l[schedule.Counts] = schedule.Work{}
	return l
}
