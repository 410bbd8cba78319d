package gradients

import (
	"context"

	"github.com/switchyard-moe/switchyard/collective"
)

// Comms are communicators of one pass: of all ranks, and of those that host the same experts.
type Comms struct{ World, Replicas *collective.Comm }

// Batch describes what a pass of training brought.
type Batch struct {
	// Tokens and Leaves are the numbers of tokens, padding left out, and of groups of tokens that
	// each rank of the world brought.
	Tokens, Leaves []int
	// StepTokens is the caller's [router.Batch].StepTokens.
	StepTokens int
	// Counts are the tokens of all ranks that chose each expert, if a loss asks for them.
	Counts []int
}

// Pass is the gradients of one pass, from its beginning on. One goroutine at a time may use it;
// that of another pass may be used at the same time.
type Pass struct {
	r *Reducer
	m *memory // nil once the pass has gone back or ended
}

// Do runs do in turn with all else that computes. Leaves that it enters into the gradients of the
// sets are those of this pass.
func (p *Pass) Do(do func()) {
	if t := p.r.cfg.Turn; t != nil && t.Lock != nil { // as Turn.Do, without another closure
		t.Lock.Lock()
		defer t.Lock.Unlock()
	}
	p.r.takeLeaves(p.m)
	p.swap()
	defer p.swap()
	do()
}

// swap exchanges the leaves in the sets for those of the pass. Those of a frozen set are forgotten,
// and their memory: a gate or an expert from outside may have entered some.
func (p *Pass) swap() {
	for i, set := range p.r.sets {
		switch {
		case set == nil:
		case set.Frozen:
			set.Grad.Free()
		default:
			set.Grad.Swap(p.m.leaves[i])
		}
	}
}

// Reduce sums the gradients of a pass that has gone back over the ranks, which call it for this
// pass together, and ends it. They are added to those of the passes of lower numbers once these
// have ended.
func (p *Pass) Reduce(ctx context.Context, b Batch) error {
	p.r.wentBack(p.m, b)
	m := p.m
	p.m = nil
	return p.r.reduce(ctx, m)
}

// Defer is Reduce by the end of the next [Reducer.Reduce], so that this rank need not wait for
// others that still compute. It is for passes of which all ranks have one at a time.
func (p *Pass) Defer(b Batch) {
	p.r.wentBack(p.m, b)
	p.r.deferred = append(p.r.deferred, p.r.later(p.m))
	p.m = nil
}

// End ends a pass without gradients. It does nothing if the pass has gone back or ended.
func (p *Pass) End() {
	if p.m != nil {
		p.r.end(p.m)
		p.m = nil
	}
}
