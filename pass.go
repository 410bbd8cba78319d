package switchyard

import (
	"context"
	"errors"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/passes"
	"github.com/switchyard-moe/switchyard/router"
)

// onePass is what Forward, Backward and Eval of a layer keep from call to call.
type onePass struct {
	last *Pass // the forward pass that Backward belongs to, if one waits

	y, dx, evaluated passes.Pass // whose results are valid until the next Forward, Backward and Eval
}

// checkForward returns an error if a Forward of another batch than t waits for its Backward.
func (s *onePass) checkForward(t *batch.Tokens) error {
	if s.last == nil || t.Repeats(&s.last.kept.Tokens) {
		return nil
	}
	return errors.New("the Forward before, of another batch, has had no Backward: " +
		"call Backward, or Discard where no gradient is wanted, or Eval in place of Forward")
}

// Pass is one batch on its way through a layer: its Forward, which keeps what Backward needs, and
// its Backward. Any number of passes may be in flight at a time. See [Layer] for the order of
// calls.
//
// Between Forward and Backward a pass keeps, for n tokens of this rank, r rows that this rank sent
// to experts and e rows that its experts received, D columns each: y (n × D), the answers (r × D),
// the rows that arrived (e × D) and what the experts keep of them (see package expert), and the
// choices of the router. x must stay as it is, and is not copied unless there is padding. After
// Backward, or Release in its place, all of that is used again by later passes. y and dx stay valid
// until Release; a pass that is never released leaves these two to the collector.
type Pass struct {
	layer *Layer
	state lifecycle.Pass
	kept  passes.Pass
	id    batch.Identity // of the batch of the first Forward
	stats *Stats         // of the last forward pass
}

// newPass returns a pass with the next number. A plain one is of Forward or Eval of the layer.
func (l *Layer) newPass(kept passes.Pass, plain bool) *Pass {
	p := &Pass{layer: l, kept: kept, id: kept.Identity()}
	l.guard.Begin(&p.state, plain)
	l.stages.Open(&p.kept, p.state.Number(), plain)
	return p
}

// NewPass returns a new pass, in flight from now on until its Backward returns or it is released.
// It takes the next number: every rank calls NewPass, ForwardPass, Forward and Eval of the layer in
// the same order. It sends nothing.
func (l *Layer) NewPass() (*Pass, error) {
	const op = "NewPass"
	if err := l.guard.Enter(context.Background(), op); err != nil {
		return nil, err
	}
	defer l.guard.Leave()
	return l.newPass(passes.Pass{}, false), nil
}

// ForwardPass is NewPass and then Forward of the new pass.
func (l *Layer) ForwardPass(ctx context.Context, x blas32.General, info router.Batch) (*Pass, error) {
	const op = "ForwardPass"
	if err := l.guard.Enter(ctx, op); err != nil {
		return nil, err
	}
	defer l.guard.Leave()
	kept, err := l.stages.Begin(x, info, true)
	if err != nil {
		return nil, l.guard.Misuse(op, "%w", err)
	}
	p := l.newPass(kept, false)
	if err := p.forward(ctx, "Forward"); err != nil {
		return nil, err
	}
	return p, nil
}

// enter begins a method of the pass. Without an error the caller must call p.state.Leave.
func (p *Pass) enter(ctx context.Context, op string) error {
	if p == nil {
		return (&lifecycle.Pass{}).Enter(ctx, op)
	}
	return p.state.Enter(ctx, op)
}

// Forward is [Layer.ForwardBatch] of this pass: y is valid until Drop or Release. After Drop it may
// run again, with the same batch; it then has the same noise and the same routes.
func (p *Pass) Forward(ctx context.Context, x blas32.General, info router.Batch) (y blas32.General, err error) {
	const op = "Forward"
	if err := p.enter(ctx, op); err != nil {
		return y, err
	}
	defer p.state.Leave()
	if err := p.mayForward(x, info); err != nil {
		return y, p.state.Misuse(op, "%w", err)
	}
	if err := p.forward(ctx, op); err != nil {
		return y, err
	}
	return p.kept.Y, nil
}

// mayForward takes a batch, or returns why it cannot be taken.
func (p *Pass) mayForward(x blas32.General, info router.Batch) error {
	if p.state.Waits() {
		return errors.New("a Forward of it waits for its Backward; call Drop to run it again")
	}
	kept, err := p.layer.stages.Begin(x, info, true)
	if err != nil {
		return err
	}
	if id := kept.Identity(); p.id != (batch.Identity{}) && p.id != id {
		kept.Tokens.Release()
		return fmt.Errorf("it was forwarded before with another batch (%v, now %v); "+
			"another batch needs a pass of its own", p.id, id)
	}
	p.put(kept)
	p.id = kept.Identity()
	return nil
}

// Eval is [Layer.EvalBatch] with the number of this pass, so that several may run at the same time.
// It may be called again and again; y is valid until the next time, or Release.
func (p *Pass) Eval(ctx context.Context, x blas32.General, info router.Batch) (y blas32.General, err error) {
	const op = "Eval"
	if err := p.enter(ctx, op); err != nil {
		return y, err
	}
	defer p.state.Leave()
	if p.state.Waits() {
		return y, p.state.Misuse(op, "a Forward of it waits for its Backward; Eval needs a pass of its own")
	}
	l := p.layer
	kept, err := l.stages.Begin(x, info, false)
	if err != nil {
		return y, p.state.Misuse(op, "%w", err)
	}
	p.put(kept)
	err = p.evaluate(ctx, op)
	l.stages.Release(&p.kept)
	return p.kept.Y, err
}

// Backward is [Layer.Backward] of this pass, and ends it. dx is valid until Release.
func (p *Pass) Backward(ctx context.Context, dy blas32.General) (dx blas32.General, err error) {
	const op = "Backward"
	if err := p.enter(ctx, op); err != nil {
		return dx, err
	}
	defer p.state.Leave()
	if !p.state.Waits() {
		return dx, p.state.Misuse(op, "no Forward of it waits for it")
	}
	if err := p.kept.CheckGradient(dy); err != nil {
		return dx, p.state.Misuse(op, "%w", err)
	}
	defer p.end(op)
	return p.backward(ctx, dy)
}

// Number is the number of the pass in its layer, from 1, the same on every rank.
func (p *Pass) Number() uint64 {
	if p == nil {
		return 0
	}
	return p.state.Number()
}

// Stats describes the last Forward or Eval of the pass, as [Layer.Stats] does of whichever was the
// last of all passes. It is for the goroutine that uses the pass, and stays the same after Release.
func (p *Pass) Stats() Stats {
	if p == nil {
		return Stats{}
	}
	return p.stats.clone()
}

// Output returns y of the last Forward or Eval, as long as it is valid; then a matrix of no rows.
func (p *Pass) Output() blas32.General {
	if p == nil {
		return blas32.General{}
	}
	return p.kept.Y
}

// Drop gives back what Forward has kept, to have less in memory until Forward runs again with the
// same batch, shortly before Backward. (Activation recomputation: Chen et al. 2016.) Every rank
// does so. x may then change, and y is not valid any more. Without a Forward that waits for its
// Backward it does nothing.
func (p *Pass) Drop() error {
	if err := p.enter(context.Background(), "Drop"); err != nil {
		return err
	}
	defer p.state.Leave()
	p.state.Dropped()
	p.giveBack()
	return nil
}

// Release ends the pass and gives back all its memory: y and dx are not valid any more. A Forward
// that has had no Backward is as if it had not been. Every rank does so. After Release it does
// nothing.
func (p *Pass) Release() error {
	const op = "Release"
	if err := p.enter(context.Background(), op); err != nil {
		if p == nil || p.layer == nil || !p.state.Ended() {
			return err
		}
		p.giveBack()
		return nil
	}
	defer p.state.Leave()
	p.end(op)
	p.giveBack()
	return nil
}

// forward runs the forward pass of training of the batch that was taken.
func (p *Pass) forward(ctx context.Context, op string) error {
	l := p.layer
	if err := p.state.Attempt(op, func() error { return l.stages.Forward(ctx, &p.kept) }); err != nil {
		if lifecycle.AgreedOn(err) {
			p.end(op)
		}
		return err
	}
	p.noteStats()
	p.state.ForwardDone()
	return nil
}

// evaluate runs the forward pass of evaluation of the batch that was taken.
func (p *Pass) evaluate(ctx context.Context, op string) error {
	l := p.layer
	err := p.state.Attempt(op, func() error { return l.stages.Forward(ctx, &p.kept) })
	if err == nil {
		p.noteStats()
	}
	return err
}

// backward runs the backward pass. The caller then ends the pass.
func (p *Pass) backward(ctx context.Context, dy blas32.General) (dx blas32.General, err error) {
	l := p.layer
	if err := p.state.Attempt("Backward", func() error { return l.stages.Backward(ctx, &p.kept, dy) }); err != nil {
		return dx, err
	}
	p.state.BackwardDone()
	return p.kept.DX, nil
}

// end ends the pass, by a method, and gives back all but y and dx.
func (p *Pass) end(op string) {
	p.layer.stages.Close(&p.kept)
	p.state.End(op)
}

// put puts a batch in the place of what the pass keeps.
func (p *Pass) put(kept passes.Pass) {
	p.giveBack()
	p.layer.stages.Take(&p.kept, kept)
}

// giveBack gives back all memory.
func (p *Pass) giveBack() {
	s := &p.layer.stages
	s.Release(&p.kept)
	s.ReleaseOutput(&p.kept)
	s.ReleaseInput(&p.kept)
}
