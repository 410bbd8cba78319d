package models

import (
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// gate is a router whose gates begin with the weights of a checkpoint.
type gate struct {
	model *Model
	block *Block
}

var (
	_ router.BoundedRouter  = gate{}
	_ router.WeightedRouter = gate{}
)

// New is described at [router.Router].
func (g gate) New(s router.Shape) (router.Gate, error) {
	if s.Dim != g.block.Dim || s.Experts != g.block.Experts {
		return nil, fmt.Errorf("models: a gate of %d experts of %d columns in a layer of %d of %d",
			g.block.Experts, g.block.Dim, s.Experts, s.Dim)
	}
	bias, err := g.model.bias(g.block)
	if err != nil {
		return nil, err
	}
	built, err := g.block.Routing.router(bias).New(s)
	if err != nil {
		return nil, err
	}
	return built, g.model.fill(built.Params(), 1, func(int) []slot { return g.block.gateSlots() })
}

// Bound is described at [router.BoundedRouter]: nothing is dropped.
func (g gate) Bound(tokens, experts int, train bool) int { return math.MaxInt }

// WeightSum is described at [router.WeightedRouter].
func (g gate) WeightSum(experts int) (least, most float64) {
	if r, ok := g.block.Routing.router(nil).(router.WeightedRouter); ok {
		return r.WeightSum(experts)
	}
	return 0, math.Inf(1)
}

// String describes the router to other ranks.
func (g gate) String() string {
	return fmt.Sprintf("%s layer %d: %+v", g.model.Type, g.block.Layer, g.block.Routing)
}

// experts is experts that begin with the weights of a checkpoint.
type experts struct {
	model  *Model
	block  *Block
	of     *Expert
	shared bool
}

var _ expert.Sizer = experts{}

// New is described at [expert.Expert].
func (x experts) New(s expert.Shape) (expert.Group, error) {
	total, first := x.block.Experts, s.First
	if x.shared {
		total, first = 0, 0
	}
	if s.Dim != x.block.Dim || first < 0 || s.Count < 0 || first+s.Count > max(total, 1) {
		return nil, fmt.Errorf("models: experts %d to %d of %d columns, of %d of %d columns",
			first, first+s.Count, s.Dim, max(total, 1), x.block.Dim)
	}
	group, err := x.of.expert().New(s)
	if err != nil {
		return nil, err
	}
	return group, x.model.fill(group.Params(), s.Count, func(e int) []slot {
		return x.of.slots(x.block, first+e, total)
	})
}

// Numbers is described at [expert.Sizer].
func (x experts) Numbers(dim int) (forward, backward int) {
	if of, ok := x.of.expert().(expert.Sizer); ok {
		return of.Numbers(dim)
	}
	return 3 * x.of.Hidden, x.of.Hidden // those of a SwiGLU
}

// String describes the experts to other ranks.
func (x experts) String() string {
	return fmt.Sprintf("%s layer %d: %+v", x.model.Type, x.block.Layer, *x.of)
}

// bias reads the bias of the choice; nil if there is none.
func (m *Model) bias(b *Block) ([]float32, error) {
	if b.Routing.Bias == "" {
		return nil, nil
	}
	return m.folder.read(b.Prefix+b.Routing.Bias, 0, b.Experts)
}

// fill reads the tensors of a set of count experts; slots lists those of each.
func (m *Model) fill(set *param.Set, count int, slots func(e int) []slot) error {
	numbers := map[string]int{}
	for i, t := range set.Tensors() {
		numbers[t.Name] = i
	}
	for e := range count {
		for _, s := range slots(e) {
			all := set.Of(set.Value, numbers[s.param])
			each := len(all) / count
			if err := m.folder.view(all[e*each:(e+1)*each], s.view); err != nil {
				return err
			}
		}
	}
	return nil
}

// view reads a matrix.
func (f *folder) view(dst []float32, v view) error {
	from, to := v.span()
	span, err := f.read(v.name, from, to)
	if err != nil {
		return err
	}
	v.gather(dst, span)
	for i, x := range dst {
		if x-x != 0 {
			return fmt.Errorf("models: %s: tensor %q: element %d, %d of the matrix is %v", f.path(v.name), v.name, i/v.cols, i%v.cols, x)
		}
	}
	return nil
}
