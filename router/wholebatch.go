package router

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// wholeBatch is the gate whose experts choose among the tokens of all ranks. Apart, so that one
// which needs nobody is not taken for one that does.
type wholeBatch struct{ *expertChoice }

var _ Consulting = wholeBatch{}

// asGate returns the gate as what it is.
func (g *expertChoice) asGate() Gate {
	if g.over == WholeBatch {
		return wholeBatch{g}
	}
	return g
}

// Consult is described at [Consulting].
func (g wholeBatch) Consult(x blas32.General, b Batch, s Share) Consultation {
	c := g.begin(x, b)
	if !g.consults(b.Train) {
		return localChoice{c}
	}
	c.startSearch(0, c.tokens, s)
	return c
}

// consults tells whether the choice depends on all ranks' tokens.
func (g *expertChoice) consults(train bool) bool {
	return g.over == WholeBatch && (g.aux == nil || train)
}

// localChoice is the consultation of a gate that needs nobody.
type localChoice struct{ *election }

// Next decides at once.
func (l localChoice) Next([]int64) ([]int64, error) {
	_, err := l.local()
	return nil, err
}

// Decide returns what Next has decided.
func (l localChoice) Decide() *Decision { return l.d }

// startSearch begins a choice among rows [begin, end).
func (c *election) startSearch(begin, end int, s Share) {
	g := c.gate
	c.search.start(ballot{
		begin: begin, end: end, tokens: c.tokens, keys: c.keys, class: c.class,
		experts: g.class, classes: g.classes, quota: g.quota,
	}, s)
}

// Next is described at [Consultation].
func (c *election) Next(sums []int64) ([]int64, error) {
	counts, err := c.search.next(sums)
	if !c.started && c.err != nil {
		clear(counts)
		err = c.fail()
	}
	c.started = true
	return counts, err
}

// Decide is described at [Consultation].
func (c *election) Decide() *Decision {
	c.taken = mat.Reuse(c.taken, c.tokens*c.gate.experts)
	clear(c.taken)
	c.search.mark(c.taken)
	return c.assign()
}
