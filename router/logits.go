package router

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// LogitRouter is a gate that takes logits instead of tokens: for a trainer that computes them
// itself, with a larger product or on another device. The gates of [TopK] and of the routers built
// on it can.
type LogitRouter interface {
	Gate
	// RouteLogits is Route for tokens with the given logits, tokens × experts: the gate's own
	// projection, and noise that it adds, is left out. Logits must stay as they are until Release
	// takes the decision back; it must not be passed to Backward.
	RouteLogits(logits blas32.General, b Batch) (*Decision, error)
	// Release gives the memory of a decision of RouteLogits back to the gate, for a later one. The
	// decision must not be read afterwards.
	Release(d *Decision)
}

var _ LogitRouter = (*tokenChoice)(nil)

// RouteLogits is described at [LogitRouter].
func (g *tokenChoice) RouteLogits(logits blas32.General, b Batch) (*Decision, error) {
	checkBatch(logits, b.Ends, g.experts)
	checkPadding(logits, b)
	if err := g.checkSequences(logits.Rows, b.Sequences); err != nil {
		return nil, err
	}
	d, c := g.take()
	c.in.set(logits, b, g.seed)
	if logits.Stride == logits.Cols && len(b.Padding) == 0 {
		c.logits = grid{cols: g.experts, data: logits.Data[:logits.Rows*logits.Cols]}
		return g.finishLent(d, c)
	}
	c.logits.reset(logits.Rows, g.experts)
	for t := range logits.Rows {
		copy(c.logits.row(t), mat.Row(c.in.x, t))
	}
	return g.finish(d, c)
}

// Release is described at [LogitRouter].
func (g *tokenChoice) Release(d *Decision) {
	c, ok := d.Saved.(*choices)
	if !ok || c.owner != g || c.spent {
		panic("router: release of a decision that is not the gate's, or not any more")
	}
	c.logits = grid{} // may be the caller's
	c.spent = true
	g.free = append(g.free, d)
}

// finishLent is finish for logits that are the caller's.
func (g *tokenChoice) finishLent(d *Decision, c *choices) (*Decision, error) {
	got, err := g.finish(d, c)
	if err != nil {
		c.logits = grid{}
	}
	return got, err
}

// finish decides by the logits that c holds, or gives d back with an error.
func (g *tokenChoice) finish(d *Decision, c *choices) (*Decision, error) {
	err := g.consider(d, c)
	c.in.x = blas32.General{}
	if err != nil {
		g.free = append(g.free, d)
		return nil, err
	}
	return d, nil
}

// consider computes the decision d from c's logits, on the fast path if possible.
func (g *tokenChoice) consider(d *Decision, c *choices) error {
	fast := g.plain() && len(c.in.Padding) == 0
	if !fast {
		if err := checkFinite(&c.logits, c.in.Ends); err != nil {
			return err
		}
	}
	c.reset(g.k(&c.in.Batch), g.experts)
	switch {
	case !fast:
		g.decide(d, c)
		return nil
	case !g.chooseFast(c):
		return checkFinite(&c.logits, c.in.Ends)
	}
	if g.unbounded(d, c) {
		c.assignAll(d, g.unscaled(c))
	} else {
		g.dropAll(d, c)
		c.assign(d, g.weigh(c))
	}
	g.measure(d, c)
	return nil
}

// own returns what the gate remembers of its decision d, which it has not got back yet.
func (g *tokenChoice) own(d *Decision) *choices {
	c, ok := d.Saved.(*choices)
	if !ok || c.owner != g {
		panic("router: a decision of another gate")
	}
	if c.spent {
		panic("router: a decision that the gate has got back")
	}
	g.allScores(c)
	return c
}
