package workload

import (
	"maps"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// Routes returns, by name, the routers whose decisions are measured.
func Routes(k int) map[string]router.Router {
	return map[string]router.Router{
		"uniform": router.Uniform{K: k},
		"random":  router.Zipf{K: k}, // of even popularity
		"zipf":    router.Zipf{K: k, Exponent: 1},
		"hot":     router.Hot{K: k, Share: 0.25},
	}
}

// RouteNames lists the names of Routes in alphabetical order.
func RouteNames() []string { return slices.Sorted(maps.Keys(Routes(1))) }

// Decide makes the decision of a route for the tokens x, with weights that differ.
func Decide(route string, k, experts int, x blas32.General) (*router.Decision, error) {
	g, err := Routes(k)[route].New(router.Shape{Dim: x.Cols, Experts: experts})
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

// Decided is the router and the gate of a decision that has been made.
type Decided struct{ Decision *router.Decision }

// String is the same on all ranks, though their decisions are not.
func (Decided) String() string { return "beforehand" }

// New implements router.Router.
func (d Decided) New(router.Shape) (router.Gate, error) { return d, nil }

// Params are none.
func (Decided) Params() *param.Set { return nil }

// Route returns the decision.
func (d Decided) Route(blas32.General, router.Batch) (*router.Decision, error) {
	return d.Decision, nil
}

// Backward does nothing: there are no parameters.
func (Decided) Backward(*router.Decision, blas32.General, router.Gradient) error { return nil }

// Passthrough are the experts of a rank. They return what they are given: the way there and back is
// all that a layer of them does. While numbered, they multiply it by their number among all
// experts, from 1.
type Passthrough struct {
	Numbered bool
	first    int
	rows     expert.Rows
	params   *param.Set
	answers  blas32.General // memory of numbered answers
}

// String is the same on all ranks.
func (*Passthrough) String() string { return "passthrough" }

// New implements expert.Expert.
func (g *Passthrough) New(s expert.Shape) (expert.Group, error) {
	g.first, g.params = s.First, param.NewSet()
	return g, nil
}

// Params are none.
func (g *Passthrough) Params() *param.Set { return g.params }

// Forward returns x itself, or numbered answers.
func (g *Passthrough) Forward(x blas32.General, rows expert.Rows) (blas32.General, expert.Saved) {
	g.rows = rows
	return g.answer(x), nil
}

// Backward returns dy itself, or numbered gradients.
func (g *Passthrough) Backward(_ expert.Saved, dy blas32.General) blas32.General {
	for l := range g.rows.Leaves {
		g.params.Grad.Leaf(g.rows.FirstLeaf + l)
	}
	return g.answer(dy)
}

func (g *Passthrough) answer(x blas32.General) blas32.General {
	if !g.Numbered {
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
func (g *Passthrough) factor(e int) float32 {
	if !g.Numbered {
		return 1
	}
	return float32(e + 1)
}
