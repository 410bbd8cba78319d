package schedule

// BuildForward returns the graph of the forward pass of a stack of layers. It panics if the plan does not fit them.
func BuildForward(layers []Layer, plan *Plan) *Graph {
	b := newBuilder(layers, plan)
	b.forward()
	return &Graph{b.tasks}
}

// forward issues, layer by layer, first everything up to the last dispatch for each micro-batch, then the experts and the way
// back for each. It returns what the last layer's outputs wait for, by micro-batch.
func (b *builder) forward() [][]int {
	b.pass = Forward
	ready := make([][]int, b.batches())
	inputs, arrived := make([][]int, len(ready)), make([][][]int, len(ready))
	for layer := range b.layers {
		for batch := range ready {
			p := place{layer, batch}
			inputs[batch] = b.head(p, ready[batch])
			arrived[batch] = b.out(p, inputs[batch])
		}
		for batch := range ready {
			ready[batch] = b.back(place{layer, batch}, inputs[batch], arrived[batch])
		}
	}
	return ready
}

// head issues what precedes the first rows: the dense part, the router and the counts.
func (b *builder) head(p place, in []int) []int {
	l := &b.layers[p.layer]
	in = b.add(Dense, p, 0, l[Dense], in...)
	in = b.add(Route, p, 0, l[Route], in...)
	return b.add(Counts, p, 0, l[Counts], in...)
}
