package simulate

import (
	"slices"

	"github.com/switchyard-moe/switchyard/schedule"
)

// BuildBackward returns the graph of the backward pass of a stack of layers, given their work in
// the forward pass. It panics if the plan does not fit them.
func BuildBackward(layers []Layer, plan *Plan) *schedule.Graph {
	b := newBuilder(layers, plan)
	b.backward(make([][]int, b.batches()))
	return &schedule.Graph{Tasks: b.tasks}
}

// BuildStep returns the graph of a forward pass followed by the backward pass.
func BuildStep(layers []Layer, plan *Plan) *schedule.Graph {
	b := newBuilder(layers, plan)
	b.backward(b.forward())
	return &schedule.Graph{Tasks: b.tasks}
}

// backward issues the layers from the last to the first. ready is what each micro-batch's first
// gradients wait for.
func (b *builder) backward(ready [][]int) {
	forward := b.layers
	b.pass, b.layers = schedule.Backward, make([]Layer, len(forward))
	for i, l := range forward {
		b.layers[i] = l.Backward()
	}
	arrived := make([][][]int, len(ready))
	ready = slices.Clone(ready)
	for layer := len(forward) - 1; layer >= 0; layer-- {
		exist := slices.Compact(slices.Concat(ready...)) // after these there are gradients so far
		for batch := range ready {
			arrived[batch] = b.out(position{layer, batch}, ready[batch])
		}
		sums := b.sum(layer, 0, at(b.plan.Within, layer), exist)
		for batch := range ready {
			ready[batch] = b.back(position{layer, batch}, ready[batch], arrived[batch])
		}
		b.sum(layer, sums, at(b.plan.Beside, layer), exist)
		for batch := range ready {
			p, l := position{layer, batch}, &b.layers[layer]
			ready[batch] = b.add(schedule.Route, p, 0, l[schedule.Route], ready[batch]...)
			ready[batch] = b.add(schedule.Dense, p, 0, l[schedule.Dense], ready[batch]...)
		}
	}
	b.tail(forward, slices.Compact(slices.Concat(ready...)))
}

// sum issues the all-reduces of gradient pieces in a gap of a layer, numbered from first, and
// returns the number after the last.
func (b *builder) sum(layer, first int, pieces []float64, exist []int) int {
	starts := max(1, b.layers[layer][schedule.GradReduce].Starts)
	for i, size := range pieces {
		b.add(schedule.GradReduce, position{layer: layer}, first+i, schedule.Work{Starts: starts, Size: size}, exist...)
	}
	return first + len(pieces)
}

// tail issues the all-reduces that come after the pass, as tasks of the first layer.
func (b *builder) tail(layers []Layer, exist []int) {
	if len(layers) == 0 {
		return
	}
	pieces := slices.Clone(b.plan.Tail)
	if rest := b.plan.left(layers); rest > 0 {
		pieces = append(pieces, rest)
	}
	b.sum(0, len(at(b.plan.Within, 0))+len(at(b.plan.Beside, 0)), pieces, exist)
}
