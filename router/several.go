package router

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/param"
)

// Several is a layer with several gates before the same experts, of which each call chooses one by
// [Batch.Gate]: one for each task, or for each phase of training. The parameters of all are one
// set, whose tensors are named by the number of the gate: "0.gate", "1.gate". A batch gives
// gradients to the gate that routed it and zeros to the others, which an optimiser with momentum
// moves on a little all the same.
//
// A gate of the list must read its parameters' values from Params().Value at each call, since New
// moves them. It must not consult other ranks nor mix tokens, and of those with a bias that follows
// the load there are only this package's.
//
// (Tutel's list of gates.)
type Several struct {
	// Routers lists the gates' configurations, at least one.
	Routers []Router
}

var _ Router = Several{}

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
	m.shareBias()
	return m, nil
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
	if _, ok := g.(interface{ Slots() int }); ok {
		return nil, fmt.Errorf("%T mixes tokens", r)
	}
	if b, ok := g.(Balancer); ok && b.Bias() != nil && ownBias(g) == nil {
		return nil, fmt.Errorf("%T has a bias of its own", r)
	}
	return g, nil
}

// several is the gate of [Several].
type several struct {
	gates   []Gate
	losses  []*param.Set // of each gate: what the gradient of its losses comes in; nil for none
	set     *param.Set   // of all gates, or nil where none has any
	offsets []int        // of each gate's parameters in the set
	biases  []float32    // of all gates
	tally   []int64
	last    int // the gate that routed last
	free    []*severalSaved
}

var (
	_ Balancer      = (*several)(nil)
	_ GlobalCounter = (*several)(nil)
	_ LossSplitter  = (*several)(nil)
)

// severalSaved is what a decision's gate had saved, and which gate that is.
type severalSaved struct {
	owner *several
	gate  int
	inner any
}

// shareParameters moves the parameters of all gates into one set.
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
			n := copy(m.set.Value[at:], p.Value)
			p.Value = m.set.Value[at : at+n : at+n]
			at += n
		}
	}
	m.offsets[len(m.gates)] = at
}

// ownBias returns the bias of a gate of this package.
func ownBias(g Gate) *bias {
	switch g := g.(type) {
	case *tokenChoice:
		return g.bias
	case *liveReplay:
		return g.bias
	case *recorded:
		return ownBias(g.Gate)
	}
	return nil
}

// shareBias moves the biases of all gates into one slice.
func (m *several) shareBias() {
	for _, g := range m.gates {
		if b := ownBias(g); b != nil {
			m.biases = append(m.biases, b.value...)
		}
	}
	at := 0
	for _, g := range m.gates {
		if b := ownBias(g); b != nil {
			n := len(b.value)
			b.value = m.biases[at : at+n : at+n]
			at += n
		}
	}
}

// Params returns the parameters of all gates.
func (m *several) Params() *param.Set { return m.set }

// Route is described at [Gate]. It is an error if there is no gate b.Gate.
func (m *several) Route(x blas32.General, b Batch) (*Decision, error) {
	if b.Gate < 0 || b.Gate >= len(m.gates) {
		return nil, fmt.Errorf("router: Several: Gate is %d, want 0 to %d", b.Gate, len(m.gates)-1)
	}
	d, err := m.gates[b.Gate].Route(x, b)
	if err != nil {
		return nil, err
	}
	m.last = b.Gate
	s := m.take()
	*s = severalSaved{m, b.Gate, d.Saved}
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
	s := m.own(d)
	d.Saved = s.inner
	gate := m.gates[s.gate]
	s.owner = nil
	m.free = append(m.free, s)
	losses := g.Losses
	if losses != nil {
		g.Losses = m.losses[s.gate]
	}
	if err := gate.Backward(d, x, g); err != nil {
		return err
	}
	if m.set != nil {
		moveGradient(m.set, gate.Params(), m.offsets[s.gate], len(d.GroupLoss), g.FirstLeaf)
	}
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

// moveGradient moves the gradient of a gate's parameters, sums of leaves, to its place, from offset
// on, in that of all. p is nil where there is none.
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

// Bias is described at [Balancer]: those of all gates, one after the other.
func (m *several) Bias() []float32 { return m.biases }

// Tally is described at [Balancer]: those of all gates, one after the other.
func (m *several) Tally() []int64 {
	m.tally = m.tally[:0]
	for _, g := range m.gates {
		if b, ok := g.(Balancer); ok {
			m.tally = append(m.tally, b.Tally()...)
		}
	}
	if len(m.tally) == 0 {
		return nil
	}
	return m.tally
}

// Rebalance is described at [Balancer]. A gate that has routed nothing since stays as it is.
func (m *several) Rebalance(sum []int64) {
	for _, g := range m.gates {
		b, ok := g.(Balancer)
		if !ok {
			continue
		}
		n := len(b.Tally())
		if part := sum[:n:n]; slices.ContainsFunc(part, func(v int64) bool { return v != 0 }) {
			b.Rebalance(part)
		}
		sum = sum[n:]
	}
	if len(sum) != 0 {
		panic("router: sum of tallies of another gate")
	}
}

// WantsCounts is described at [GlobalCounter], for the gate that routed last.
func (m *several) WantsCounts() bool {
	g, ok := m.gates[m.last].(GlobalCounter)
	return ok && g.WantsCounts()
}

// SetCounts is described at [GlobalCounter].
func (m *several) SetCounts(d *Decision, counts []int, tokens int) {
	s := m.own(d)
	d.Saved = s.inner
	m.gates[s.gate].(GlobalCounter).SetCounts(d, counts, tokens)
	d.Saved = s
}
