package router

import (
	"errors"
	"fmt"
	"strings"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/param"
)

// Several is a layer with several gates before the same experts, of which each call chooses one by
// [Batch.Gate]: one for each task, or for each phase of training. The parameters of all are one
// set, whose tensors are named by the number of the gate: "0.gate", "1.gate". A batch gives
// gradients to the gate that routed it and zeros to the others, which an optimizer with momentum
// still moves a little.
//
// A gate of the list must read its parameters' values from Params().Value at each call, since they
// are in the memory of the one set. It must not consult other ranks nor mix tokens. The gate keeps
// what its gates can do else: biases of any of them, counts and losses of the one that routes, and
// logits in place of tokens if all gates take them.
//
// (Tutel's list of gates.)
type Several struct {
	// Routers lists the gates' configurations, at least one.
	Routers []Router
}

var (
	_ CausalRouter   = Several{}
	_ BoundedRouter  = Several{}
	_ WeightedRouter = Several{}
)

// String lists the routers.
func (r Several) String() string {
	list := make([]string, len(r.Routers))
	for i, of := range r.Routers {
		list[i] = describe(of)
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// New is described at [Router]. The gates are built with different seeds.
func (r Several) New(s Shape) (Gate, error) {
	var faults []error
	if len(r.Routers) == 0 {
		faults = append(faults, errors.New("router: Several without routers"))
	}
	m := &several{}
	for i, of := range r.Routers {
		g, err := newOfSeveral(of, s, i)
		if err != nil {
			faults = append(faults, errtext.Errorf("router: gate %d of several: %w", i, err))
			continue
		}
		m.gates = append(m.gates, g)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	m.shareParameters()
	m.listBiases()
	return m.withLogits(), nil
}

// newOfSeveral builds gate i. The first has the layer's own seed, so that it begins as it would
// alone.
func newOfSeveral(r Router, s Shape, i int) (Gate, error) {
	if check.Nil(r) {
		return nil, errors.New("no router")
	}
	if i > 0 {
		s.Seed = mix(s.Seed, uint64(i))
	}
	g, err := r.New(s)
	if err != nil {
		return nil, err
	}
	if _, ok := g.(Consulting); ok {
		return nil, fmt.Errorf("%T consults other ranks", r)
	}
	if _, ok := g.(Mixer); ok {
		return nil, fmt.Errorf("%T mixes tokens", r)
	}
	return g, nil
}

// several is the gate of [Several].
type several struct {
	gates   []Gate
	losses  []*param.Set // of each gate: what the gradient of its losses comes in; nil for none
	set     *param.Set   // of all gates, or nil if none has any
	offsets []int        // of each gate's parameters in the set
	biases  []float32    // of all gates; a gate is given its own before it is used
	bias    [][]float32  // of each gate, in biases
	tally   []int64
	last    int // the gate that routed last
	free    []*severalSaved
}

var (
	_ Balancer      = (*several)(nil)
	_ GlobalCounter = (*several)(nil)
	_ LossSplitter  = (*several)(nil)
	_ Stateful      = (*several)(nil)
)

// severalSaved is what a decision's gate had saved, and which gate that is.
type severalSaved struct {
	owner *several
	gate  int
	inner any
}

// shareParameters copies the parameters of all gates into one set.
func (m *several) shareParameters() {
	var tensors []param.Tensor
	for i, g := range m.gates {
		if p := g.Params(); p != nil {
			for _, t := range p.Tensors() {
				tensors = append(tensors, param.Tensor{Name: fmt.Sprintf("%d.%s", i, t.Name), Shape: t.Shape})
			}
		}
	}
	m.offsets = make([]int, len(m.gates)+1)
	if len(tensors) == 0 {
		return
	}
	m.set = param.NewSet(tensors...)
	at := 0
	for i, g := range m.gates {
		m.offsets[i] = at
		if p := g.Params(); p != nil {
			at += copy(m.set.Value[at:], p.Value)
		}
	}
	m.offsets[len(m.gates)] = at
}

// prepare gives a gate its parameters and its bias out of those of all gates, whose memory or
// values may have changed since the last call, or been frozen.
func (m *several) prepare(gate int) {
	if p := m.gates[gate].Params(); p != nil && m.set != nil {
		p.Frozen = m.set.Frozen
		p.Value = m.set.Value[m.offsets[gate]:m.offsets[gate+1]:m.offsets[gate+1]]
	}
	copy(biasOf(m.gates[gate]), m.bias[gate])
}

// Params returns the parameters of all gates.
func (m *several) Params() *param.Set { return m.set }

// Route is described at [Gate]. It is an error if there is no gate b.Gate.
func (m *several) Route(x blas32.General, b Batch) (*Decision, error) {
	if err := m.checkGate(b); err != nil {
		return nil, err
	}
	m.prepare(b.Gate)
	d, err := m.gates[b.Gate].Route(x, b)
	return m.routed(b.Gate, d, err)
}

func (m *several) checkGate(b Batch) error {
	if b.Gate < 0 || b.Gate >= len(m.gates) {
		return fmt.Errorf("router: Several: Gate is %d, want 0 to %d", b.Gate, len(m.gates)-1)
	}
	return nil
}

// routed notes which gate made the decision d.
func (m *several) routed(gate int, d *Decision, err error) (*Decision, error) {
	if err != nil {
		return nil, err
	}
	m.last = gate
	s := m.take()
	*s = severalSaved{m, gate, d.Saved}
	d.Saved = s
	return d, nil
}

// take returns memory for what a decision's gate has saved.
func (m *several) take() *severalSaved {
	n := len(m.free)
	if n == 0 {
		return new(severalSaved)
	}
	s := m.free[n-1]
	m.free = m.free[:n-1]
	return s
}

// Backward is described at [Gate].
func (m *several) Backward(d *Decision, x blas32.General, g Gradient) error {
	s := m.release(d)
	gate := m.gates[s.gate]
	m.prepare(s.gate)
	losses := g.Losses
	if losses != nil {
		g.Losses = m.losses[s.gate]
	}
	if err := gate.Backward(d, x, g); err != nil {
		return err
	}
	if m.set == nil {
		return nil
	}
	if m.set.Frozen {
		forget(gate.Params(), g.Losses) // a gate from outside may have entered leaves
		return nil
	}
	moveGradient(m.set, gate.Params(), m.offsets[s.gate], len(d.GroupLoss), g.FirstLeaf)
	if losses != nil {
		moveGradient(losses, g.Losses, m.offsets[s.gate], len(d.GroupLoss), g.FirstLeaf)
	}
	return nil
}

// LossParams is described at [LossSplitter].
func (m *several) LossParams() *param.Set {
	m.losses = make([]*param.Set, len(m.gates))
	found := false
	for i, g := range m.gates {
		if of, ok := g.(LossSplitter); ok {
			m.losses[i] = of.LossParams()
			found = found || m.losses[i] != nil
		}
	}
	if !found {
		return nil
	}
	return likeParams(m.set)
}

// own returns what the gate remembers of its decision d.
func (m *several) own(d *Decision) *severalSaved {
	s, ok := d.Saved.(*severalSaved)
	if !ok || s.owner != m {
		panic("router: a decision of another gate")
	}
	return s
}

// release gives d back to the gate that decided, as that gate made it, and frees what was kept of
// it, which stays readable until the next decision.
func (m *several) release(d *Decision) *severalSaved {
	s := m.own(d)
	d.Saved = s.inner
	s.owner = nil
	m.free = append(m.free, s)
	return s
}

// forget forgets the leaves of the sets that there are, and their memory.
func forget(sets ...*param.Set) {
	for _, p := range sets {
		if p != nil {
			p.Grad.Free()
		}
	}
}

// moveGradient moves the gradient of a gate's parameters, sums of leaves, to that of all gates,
// from offset on. p is nil if the gate has none.
func moveGradient(all, p *param.Set, offset, groups, firstLeaf int) {
	if p == nil {
		for leaf := range groups {
			all.Grad.Leaf(firstLeaf + leaf)
		}
		return
	}
	for _, n := range p.Grad.Nodes() {
		copy(all.Grad.Subtree(n.Position())[offset:], n.Sum)
	}
	p.Grad.Reset()
}
