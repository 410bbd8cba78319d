package experts

import (
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// Run is rows of one expert of any rank that are computed here: those of some leaves of an
// exchange. The rows of the i-th run of a pass are those of the i-th expert after the hosted ones.
type Run struct {
	// First and End are its leaves, of those of the exchange.
	First, End int
	// Value is the expert's parameters, tensor by tensor, from ForwardRuns on.
	Value []float32
	// Gradient gets the gradient of its leaves; it is nil if there is none.
	Gradient *tree.Sum
}

// Share has a pass that has begun compute runs besides the experts hosted here, each in a slot: a
// group of one expert, whose parameters are those of the run. The rows of a run that have none in a
// chunk may be left out of what Forward returns.
func (s *Stage) Share(p *Pass, runs []Run) error {
	p.runs = runs
	for range runs {
		slot, err := s.slot()
		if err != nil {
			return err
		}
		p.slots = append(p.slots, slot)
		if set := slot.Params(); set != nil {
			set.Frozen = s.Frozen()
		}
	}
	each := 1
	if s.byRanks {
		each = p.chunks.Plan().Ranks()
	}
	p.grow(len(p.saved) + each*len(runs))
	return nil
}

// slot takes a slot, or makes one.
func (s *Stage) slot() (*group, error) {
	if slot := s.slots.Take(); slot != nil {
		return slot, nil
	}
	shape := s.shape
	shape.First, shape.Count = 0, 1 // by which first parameters are drawn, that of a run replace
	slot, err := newGroup(s.kind, shape)
	slot.count = 1
	return &slot, err
}

// giveSlots takes the slots of a pass back.
func (s *Stage) giveSlots(p *Pass) {
	for i, slot := range p.slots {
		if set := slot.Params(); set != nil {
			set.Value = nil
			set.Grad.Reset() // of experts whose gradient nobody wants
		}
		s.slots.Give(slot)
		p.slots[i] = nil
	}
	p.slots = p.slots[:0]
}

// Numbers is how many parameters an expert has.
func (s *Stage) Numbers() (n int, err error) {
	slot, err := s.slot()
	if err != nil || slot.Params() == nil {
		return 0, err
	}
	defer s.slots.Give(slot)
	if slices.Contains(s.params, slot.Params()) {
		return 0, fmt.Errorf("switchyard: Config.Expert: New of %T returns a group that it has returned before", s.kind)
	}
	if s.params[0] == nil {
		return 0, fmt.Errorf("switchyard: Config.Expert: %T has parameters for one expert and nil for none", s.kind)
	}
	for _, t := range slot.Params().Tensors() {
		n += t.Len()
	}
	return n, nil
}

// numbersOfOne is how many elements of a tensor of experts are of one.
func numbersOfOne(t param.Tensor) int { return param.Tensor{Shape: t.Shape[1:]}.Len() }

// Frozen reports whether the experts are not trained.
func (s *Stage) Frozen() bool { return s.params[0] == nil || s.params[0].Frozen }

// Values returns the parameters of the e-th expert hosted here, tensor by tensor, as they lie.
func (s *Stage) Values(e int) (list [][]float32) {
	i := s.groupOf(e)
	g, set := &s.groups[i], s.params[i]
	if set == nil {
		return nil
	}
	if g.count == 1 {
		return [][]float32{set.Value}
	}
	for i, t := range set.Tensors() {
		n := numbersOfOne(t)
		list = append(list, set.Of(set.Value, i)[(e-g.first)*n:(e-g.first+1)*n])
	}
	return list
}

// groupOf is the number of the group of the e-th expert hosted here.
func (s *Stage) groupOf(e int) int {
	return slices.IndexFunc(s.groups, func(g group) bool { return e < g.first+g.count })
}

// Merge takes the gradient of the e-th expert hosted here, of whose rows none were computed here
// but in slots: nodes of the tree over the same leaves as those of its group, where it has zeros.
func (s *Stage) Merge(e int, nodes []tree.Node) error {
	i := s.groupOf(e)
	g, set := &s.groups[i], s.params[i]
	to := set.Grad.Nodes()
	if !slices.EqualFunc(to, nodes, func(a, b tree.Node) bool { return a.Position() == b.Position() }) {
		return fmt.Errorf("switchyard: expert %d: its gradient has other leaves than those of its group, %T", s.first+e, g.Group)
	}
	for k, node := range nodes {
		row := node.Sum
		for i, t := range set.Tensors() {
			n := numbersOfOne(t)
			copy(set.Of(to[k].Sum, i)[(e-g.first)*n:], row[:n])
			row = row[n:]
		}
	}
	return nil
}

// swapRun exchanges the leaves of a slot for those of its run.
func (of *piece) swapRun() {
	if of.run != nil && of.run.Gradient != nil && !of.group.Params().Frozen {
		of.group.Params().Grad.Swap(of.run.Gradient)
	}
}

// load gives a slot the parameters of its run.
func (of *piece) load() {
	if of.run == nil {
		return
	}
	if set := of.group.Params(); set != nil {
		set.Value = of.run.Value
	}
}

// newGroup builds the experts of a shape.
func newGroup(kind expert.Expert, shape expert.Shape) (g group, err error) {
	g.Group, err = kind.New(shape)
	if err != nil {
		return g, err
	}
	g.split, _ = g.Group.(expert.SplitBackward)
	g.holder, _ = g.Group.(expert.Holder)
	g.rows, _ = g.Group.(expert.RowGradients)
	return g, nil
}

// grow gives the memory of a pass n elements.
func (m *memory) grow(n int) {
	m.saved, m.of = slices.Grow(m.saved, n-len(m.saved))[:n], slices.Grow(m.of, n-len(m.of))[:n]
	m.drows = slices.Grow(m.drows, max(n-len(m.drows), 0))[:max(n, len(m.drows))]
}

// workers is on how many goroutines the group computes at most, as far as is known.
func (g *group) workers() int {
	if p, ok := g.Group.(parallel); ok {
		return p.Parallelism()
	}
	return 1
}
