package router

import "github.com/switchyard-moe/switchyard/internal/param"

// Tensor names one tensor of a gate's parameters and gives its shape, slowest dimension first.
type Tensor = param.Tensor

// NewParams makes the parameters of a gate: zeroed tensors, one after the other in Value, and their gradient, in Grad. A gate
// in Backward writes the share of group g into Grad.Leaf(FirstLeaf+g), groups in order, the empty ones too. [examples/gate]
// shows it.
//
// [examples/gate]: https://github.com/switchyard-moe/switchyard/tree/main/examples/gate
func NewParams(tensors ...Tensor) *Params { return param.NewSet(tensors...) }
