package main

import (
	"maps"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/param"
	"github.com/switchyard-moe/switchyard/router"
)

// layerRoutes returns, by name, the routers whose decisions are measured.
func layerRoutes(k int) map[string]router.Router {
	return map[string]router.Router{
		"uniform": router.Uniform{K: k},
		"random":  router.Zipf{K: k}, // of even popularity
		"zipf":    router.Zipf{K: k, Exponent: 1},
		"hot":     router.Hot{K: k, Share: 0.25},
	}
}

func layerRouteNames() []string { return slices.Sorted(maps.Keys(layerRoutes(1))) }

// decide makes the decision of a route for the tokens x, with weights that differ.
func decide(route string, k, experts int, x blas32.General) (*router.Decision, error) {
	g, err := layerRoutes(k)[route].New(router.Shape{Dim: x.Cols, Experts: experts})
	if err != nil {
		return nil, err
	}
	d, err := g.Route(x, router.Batch{Ends: []int{x.Rows}, Train: true})
	if err != nil {
		return nil, err
	}
	for i := range d.Weight {
		d.Weight[i] = 1 / float32(1+i%7)
	}
	return d, nil
}

// decided is the router and the gate of a decision that has been made.
type decided struct{ decision *router.Decision }

// String is the same on all ranks, though their decisions are not.
func (decided) String() string { return "beforehand" }

func (d decided) New(router.Shape) (router.Gate, error) { return d, nil }
func (decided) Params() *router.Params                  { return nil }
func (d decided) Route(blas32.General, router.Batch) (*router.Decision, error) {
	return d.decision, nil
}
func (decided) Backward(*router.Decision, blas32.General, router.Gradient) error { return nil }

// echoes are the experts of a rank. They return what they are given: the way there and back is all that a layer of them does.
// While numbered, they multiply it by their number among all experts, from 1.
type echoes struct {
	numbered bool
	first    int
	rows     expert.Rows
	params   *expert.Params
	answers  blas32.General // memory of numbered answers
}

// String is the same on all ranks.
func (*echoes) String() string { return "echoes" }

func (g *echoes) New(s expert.Shape) (expert.Group, error) {
	g.first, g.params = s.First, param.NewSet()
	return g, nil
}

func (g *echoes) Params() *expert.Params { return g.params }

func (g *echoes) Forward(x blas32.General, rows expert.Rows) (blas32.General, expert.Saved) {
	g.rows = rows
	return g.answer(x), nil
}

func (g *echoes) Backward(_ expert.Saved, dy blas32.General) blas32.General {
	for l := range g.rows.Leaves {
		g.params.Grad.Leaf(g.rows.FirstLeaf + l)
	}
	return g.answer(dy)
}

func (g *echoes) answer(x blas32.General) blas32.General {
	if !g.numbered {
		return x
	}
	g.answers = blas32.General{Rows: x.Rows, Cols: x.Cols, Stride: x.Cols, Data: slices.Grow(g.answers.Data[:0], len(x.Data))[:len(x.Data)]}
	for e := range g.rows.Experts {
		begin, end := g.rows.Of(e)
		for i := begin * x.Cols; i < end*x.Cols; i++ {
			g.answers.Data[i] = g.factor(g.first+e) * x.Data[i]
		}
	}
	return g.answers
}

// factor is what expert e, of all, multiplies by.
func (g *echoes) factor(e int) float32 {
	if !g.numbered {
		return 1
	}
	return float32(e + 1)
}
