package simulate

import (
	"github.com/switchyard-moe/switchyard/schedule"
)

// BuildForward returns the graph of the forward pass of a stack of layers. It panics if the plan
// does not fit them.
func BuildForward(layers []Layer, plan *Plan) *schedule.Graph {
	b := newBuilder(layers, plan)
	b.forward()
	return &schedule.Graph{Tasks: b.tasks}
}

// forward issues, layer by layer, first everything up to the last dispatch for each micro-batch,
// then the experts and the combine of each. It returns what the outputs of the last layer wait for,
// by micro-batch.
func (b *builder) forward() [][]int {
	b.pass = schedule.Forward
	ready := make([][]int, b.batches())
	inputs, arrived := make([][]int, len(ready)), make([][][]int, len(ready))
	for layer := range b.layers {
		for batch := range ready {
			p := position{layer, batch}
			inputs[batch] = b.head(p, ready[batch])
			arrived[batch] = b.out(p, inputs[batch])
		}
		for batch := range ready {
			ready[batch] = b.back(position{layer, batch}, inputs[batch], arrived[batch])
		}
	}
	return ready
}

// head issues what precedes the first rows: the dense part, the router and the counts.
func (b *builder) head(p position, in []int) []int {
	l := &b.layers[p.layer]
	in = b.add(schedule.Dense, p, 0, l[schedule.Dense], in...)
	in = b.add(schedule.Route, p, 0, l[schedule.Route], in...)
	return b.add(schedule.Counts, p, 0, l[schedule.Counts], in...)
}
