package simulate

import (
	"github.com/switchyard-moe/switchyard/schedule"
)

// Layer is the work of one layer in the forward pass of one micro-batch on one rank, by Op.
// Operations that the layer does not have are zero: it has no Gather and Scatter without sharded
// experts, and only Dense if it has no experts. Layer[GradReduce].Size is the whole gradient of the
// dense part, in elements.
type Layer [schedule.Ops]schedule.Work

// Backward returns the layer's work in the backward pass: matrix products are computed twice, for
// the gradients of the input and of the weights; as many gradients as rows are moved; counts are
// known from the forward pass.
func (l Layer) Backward() Layer {
	for _, op := range []schedule.Op{schedule.Dense, schedule.Route, schedule.Expert, schedule.Shared} {
		l[op] = l[op].Times(2)
	}
	l[schedule.Counts] = schedule.Work{}
	return l
}
