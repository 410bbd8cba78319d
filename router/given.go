package router

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// given is a gate without scores: a rule names k experts for each token, which share its weight
// equally. It has no parameters, no losses and no gradient. The memory of a decision is used again
// after Backward.
type given struct {
	shape Shape
	k     int
	rule  givenRule
	in    input
	free  []*Decision
	spots []int32 // k of each token
}

// givenRule names the experts of tokens.
type givenRule interface {
	// experts fills dst with different experts for row t of the batch, which is token i of its
	// token group, padding not counted.
	experts(dst []int32, in *input, t, i int)
}

// givenSaved marks a decision as the gate's.
type givenSaved struct {
	owner *given
	spent bool
}

// newGiven returns the gate of a rule whose configuration has been checked.
func newGiven(s Shape, k int, rule givenRule) Gate { return &given{shape: s, k: k, rule: rule} }

// Params returns nil.
func (g *given) Params() *param.Set { return nil }

// Route is described at [Gate].
func (g *given) Route(x blas32.General, b Batch) (*Decision, error) {
	checkBatch(x, b.Ends, g.shape.Dim)
	checkPadding(x, b)
	g.in.set(x, b, g.shape.Seed)
	g.spots = mat.Reuse(g.spots, x.Rows*g.k)
	begin := 0
	for _, end := range b.Ends {
		i := 0
		for t := begin; t < end; t++ {
			if !b.padded(t) {
				g.rule.experts(g.spots[t*g.k:(t+1)*g.k], &g.in, t, i)
				i++
			}
		}
		begin = end
	}
	g.in.x, g.in.Features = blas32.General{}, blas32.General{}
	d := g.take()
	g.assign(d, x.Rows, b)
	return d, nil
}

// take returns a decision and its memory.
func (g *given) take() *Decision {
	n := len(g.free)
	if n == 0 {
		return &Decision{Losses: map[string]float64{}, Saved: &givenSaved{owner: g}}
	}
	d := g.free[n-1]
	g.free = g.free[:n-1]
	d.Saved.(*givenSaved).spent = false
	return d
}

// assign writes the named experts into d. It is a counting sort, in which spots are in token order.
func (g *given) assign(d *Decision, tokens int, b Batch) {
	d.Counts, d.Ends = mat.Reuse(d.Counts, g.shape.Experts), mat.Reuse(d.Ends, g.shape.Experts)
	clear(d.Counts)
	for t := range tokens {
		for j := t * g.k; j < (t+1)*g.k && !b.padded(t); j++ {
			d.Counts[g.spots[j]]++
		}
	}
	total := 0
	for e, n := range d.Counts {
		d.Ends[e] = total
		total += n
	}
	d.Tokens, d.Experts, d.Dropped = tokens, g.shape.Experts, 0
	d.Token, d.Weight = mat.Reuse(d.Token, total), mat.Reuse(d.Weight, total)
	for t := range tokens {
		for j := t * g.k; j < (t+1)*g.k && !b.padded(t); j++ {
			n := d.Ends[g.spots[j]]
			d.Ends[g.spots[j]]++
			d.Token[n], d.Weight[n] = int32(t), 1/float32(g.k)
		}
	}
	d.GroupLoss, d.GroupCapacity = mat.Reuse(d.GroupLoss, len(b.Ends)), mat.Reuse(d.GroupCapacity, len(b.Ends))
	clear(d.GroupLoss)
	for i := range d.GroupCapacity {
		d.GroupCapacity[i] = math.MaxInt
	}
}

// Backward adds nothing: routes that are given have no gradient. It takes the decision's memory
// back.
func (g *given) Backward(d *Decision, x blas32.General, grad Gradient) error {
	s, ok := d.Saved.(*givenSaved)
	if !ok || s.owner != g {
		panic("router: a decision of another gate")
	}
	if s.spent {
		panic("router: a decision that the gate has got back")
	}
	checkGradient(d, x, grad)
	s.spent = true
	g.free = append(g.free, d)
	return nil
}

// distinct turns dst[j], a number below experts−j, into the dst[j]-th of the experts that dst[:j]
// does not name yet: so independent numbers become different experts.
func distinct(dst []int32) {
	for j, nth := range dst {
		e := nth
		for {
			next := nth
			for _, taken := range dst[:j] {
				if taken <= e {
					next++
				}
			}
			if next == e {
				break
			}
			e = next
		}
		dst[j] = e
	}
}
