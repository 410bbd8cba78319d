package router

import "github.com/switchyard-moe/switchyard/param"

// wrapper forwards the abilities of a gate that a gate around it need not change. Without an
// ability it answers as [Balancer], [GlobalCounter] and [LossSplitter] say of gates that do not use
// it.
type wrapper struct{ Gate }

var (
	_ Balancer      = wrapper{}
	_ GlobalCounter = wrapper{}
	_ LossSplitter  = wrapper{}
	_ Stateful      = wrapper{}
)

// Bias is described at [Balancer].
func (w wrapper) Bias() []float32 {
	if g, ok := w.Gate.(Balancer); ok {
		return g.Bias()
	}
	return nil
}

// Tally is described at [Balancer].
func (w wrapper) Tally() []int64 {
	if g, ok := w.Gate.(Balancer); ok {
		return g.Tally()
	}
	return nil
}

// Rebalance is described at [Balancer].
func (w wrapper) Rebalance(sum []int64) {
	if g, ok := w.Gate.(Balancer); ok {
		g.Rebalance(sum)
	}
}

// LossParams is described at [LossSplitter].
func (w wrapper) LossParams() *param.Set {
	if g, ok := w.Gate.(LossSplitter); ok {
		return g.LossParams()
	}
	return nil
}

// WantsCounts is described at [GlobalCounter].
func (w wrapper) WantsCounts() bool {
	g, ok := w.Gate.(GlobalCounter)
	return ok && g.WantsCounts()
}

// SetCounts is described at [GlobalCounter].
func (w wrapper) SetCounts(d *Decision, counts []int, tokens int) {
	if g, ok := w.Gate.(GlobalCounter); ok {
		g.SetCounts(d, counts, tokens)
	}
}

// State is described at [Stateful].
func (w wrapper) State() []param.Entry { return stateOf(w.Gate) }
