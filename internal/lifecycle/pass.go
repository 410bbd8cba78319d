package lifecycle

import (
	"context"
	"fmt"
	"slices"
)

// Pass is the lifecycle of one pass of a layer, from [Guard.Begin] to its end. The methods of a
// pass, and those of other passes, may run at the same time; none runs while a method of the layer
// does that concerns the parameters. The zero value is a pass of no layer.
type Pass struct {
	guard  *Guard
	number uint64

	// The guard's mutex guards what follows.
	plain   bool   // of Forward of the layer: the program does not hold it
	running string // the method that it is in, if it is in one
	waits   bool   // a Forward of it has had no Backward
	ended   string // the method that ended it, "" while it is in flight
}

// Begin begins a pass, p, with the next number. A plain one is that of a method of the layer; the
// program holds others. The caller is in a method of the layer, or holds it otherwise.
func (g *Guard) Begin(p *Pass, plain bool) {
	g.note(func() {
		g.last++
		*p = Pass{guard: g, number: g.last, plain: plain}
		g.open = append(g.open, p)
	})
	if !plain {
		_ = g.cfg.Begin("NewPass")(nil)
		g.cfg.Passes.Made(p.number)
	}
}

// Number is the number of the pass in its layer, from 1, the same on every rank.
func (p *Pass) Number() uint64 { return p.number }

// String is the pass in errors.
func (p *Pass) String() string { return fmt.Sprintf("pass %d", p.number) }

// Enter begins a method of the pass that needs it in flight. Without an error the caller must call
// Leave.
func (p *Pass) Enter(ctx context.Context, op string) error {
	if p.guard == nil {
		return fmt.Errorf("switchyard: %s: the pass was not made by a layer", op)
	}
	g := p.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.mayEnter(ctx, op, p.inUse)
	if err == nil && p.ended != "" {
		err = p.Misuse(op, "it has ended, by %s", p.ended)
	}
	if err == nil {
		p.running = op
	}
	return err
}

// inUse says what keeps a method of the pass from beginning.
func (p *Pass) inUse() string {
	switch {
	case p.running != "":
		return fmt.Sprintf("%v is in %s", p, p.running)
	case p.guard.whole:
		return "the layer is in " + p.guard.running
	}
	return ""
}

// Leave ends what Enter began.
func (p *Pass) Leave() { p.guard.note(func() { p.running = "" }) }

// Misuse is the error of a call that has done nothing, by this rank's fault.
func (p *Pass) Misuse(op, format string, args ...any) error {
	return p.guard.Misuse(op, "%v: %w", p, fmt.Errorf(format, args...))
}

// ForwardDone notes a Forward that waits for its Backward, and Dropped that it waits no more.
func (p *Pass) ForwardDone() { p.guard.note(func() { p.waits = true }) }

// Dropped is the opposite of ForwardDone.
func (p *Pass) Dropped() { p.guard.note(func() { p.waits = false }) }

// BackwardDone notes a Backward whose gradients the next step will use.
func (p *Pass) BackwardDone() { p.guard.note(func() { p.guard.passes++ }) }

// Waits reports whether a Forward of the pass waits for its Backward.
func (p *Pass) Waits() (waits bool) {
	p.guard.note(func() { waits = p.waits })
	return waits
}

// End ends the pass, by a method. A pass that has ended does not change.
func (p *Pass) End(op string) {
	g := p.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.ended != "" {
		return
	}
	p.ended, p.waits = op, false
	if i := slices.Index(g.open, p); i >= 0 {
		g.open = slices.Delete(g.open, i, i+1)
	}
	if !p.plain {
		g.cfg.Passes.Over(p.number)
	}
}

// Ended reports whether the pass has ended.
func (p *Pass) Ended() (ended bool) {
	p.guard.note(func() { ended = p.ended != "" })
	return ended
}

// Attempt is [Guard.Attempt] of a method of the pass.
func (p *Pass) Attempt(op string, do func() error) error {
	if p.plain {
		return p.guard.Attempt(op, do)
	}
	return p.guard.attempt(op, p.guard.cfg.Passes.Begin(p.number, op), do)
}
