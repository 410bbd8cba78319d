package switchyard

import (
	"context"
	"errors"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/internal/passes"
	"github.com/switchyard-moe/switchyard/router"
)

var (
	// ErrFailed is beneath the error that ended a layer and beneath the errors of all calls after
	// it. An error without it has left the layer as it was before the call. See [Layer].
	ErrFailed = lifecycle.ErrFailed
	// ErrInUse is beneath the error of a call that was made while another goroutine was in a method
	// of the same layer. The call has done nothing.
	ErrInUse = lifecycle.ErrInUse
)

// Layer is one rank's part of a mixture-of-experts layer: the gate, which every rank holds, and the
// experts hosted here. All ranks call its methods in the same order; any rank may have any number
// of tokens, none included.
//
// # Passes in flight
//
// A pass is one batch on its way: its Forward, and then its Backward. Forward and Backward of the
// layer are for one pass at a time. Any number of passes may be in flight at once as values of
// [Pass]: as a pipeline has them (1F1B, interleaved), where activations are recomputed, where rows
// of one batch travel while another is computed, and where requests are evaluated beside each
// other. They compute in turn ([World.Compute]).
//
// Passes are numbered in the order in which NewPass, ForwardPass, Forward and Eval of the layer are
// called, which is the same on every rank, and messages of a pass meet by its number. So each pass
// may be used by a goroutine of its own, in another order than on other ranks; a goroutine that
// uses several takes them in the order of the other ranks, since their calls wait for each other.
// Gradients are added in the order of the numbers, whatever the order of the calls of Backward: a
// step has the bits of its passes one after another, but for [router.GlobalBalance].
//
// # Goroutines
//
// Each pass is used by one goroutine at a time, and so are the methods of the layer itself. Those
// that concern the parameters (Step, Gradients, GradNorm and what changes gradients, SetFrozen,
// Parameters, Load, State, SetDegree) also need every pass idle. What is in use returns [ErrInUse]
// and does nothing. Stats, OverlapProfile and Observe may be called at any time.
//
// # Order of calls
//
// Passes, any number of them, and then Step, or DiscardGradients in its place. Between the last
// Backward and Step stand Gradients, [GradNorm], [ClipGradients] and ScaleGradients. SetFrozen
// stands between steps, Eval anywhere. A call out of turn, or with what does not fit (a matrix that
// contradicts itself, a nil), is an error that names the rank, the operation, the value and the
// limit, and does nothing. So is one that needs that no pass is in flight; it names those that are.
//
// # After an error
//
// errors.Is(err, [ErrFailed]) tells what the layer is after it:
//
//   - Without ErrFailed the layer goes on. Either the call has done nothing: its context had ended
//     before it began, or it was a mistake. Then it may be called again, and the result has the
//     bits that it would have had without the first call; the other ranks wait for it. Or all ranks
//     have refused the batch together ([alltoall.ErrRefused]: a token that cannot be routed, a
//     number that is not finite), or the step (an optimizer that cannot take it). Then the pass is
//     dropped on every rank, or the gradients stay for the next Step, and the next call works.
//   - With ErrFailed the layer has ended on this rank, and so have all its passes. Messages had
//     been sent, and the call was broken off: a rank died, a context ended in the middle, an expert
//     or a gate failed. The state of this layer may differ from that of the others, so it is not
//     used again: every later call returns ErrFailed at once, with the first error beneath it. No
//     gradient is left out without an error. A job goes on from its last checkpoint, on a new
//     world.
type Layer struct {
	cfg    Config
	world  *World
	guard  *lifecycle.Guard // of when its methods may be called
	stages passes.Stages    // through which passes go
	one    onePass          // of Forward, Backward and Eval of the layer
	table  *parameters.Table
	label  string // what errors call it: "layer 1"
	stats  statsBoard
}

// NewLayer builds this rank's part of a layer. It talks to the other ranks to check that all were
// given the same configuration; an error names the rank and the field that differ.
func NewLayer(world *World, cfg Config) (*Layer, error) {
	if world == nil {
		return nil, errors.New("switchyard: NewLayer: the world is nil")
	}
	if world.t == nil {
		return nil, errors.New("switchyard: NewLayer: the world was not made by Join or NewWorld")
	}
	if err := world.beginLayer("NewLayer"); err != nil {
		return nil, err
	}
	defer world.building.Unlock()
	number := world.layers
	world.layers++ // whatever comes of this one, so that all ranks count alike
	cfg, err := world.machine.fill(cfg)
	if err == nil {
		err = cfg.Validate(world.Size())
	}
	if err != nil {
		return nil, err
	}
	if world.algorithm != nil {
		cfg.Algorithm = *world.algorithm
	}
	cfg.Wire = cfg.Compression.wire(cfg.Wire)
	settings := cfg.settings()
	cfg.Seed = layout.Seed(cfg.Seed, number)
	cfg.Compression.LSH.Seed = layout.Seed(cfg.Compression.LSH.Seed, number)
	b := newBuilder(world, cfg, world.named(fmt.Sprintf("layer %d", number+1)))
	b.l.guard = lifecycle.New(b.guarded())
	if err := world.making("NewLayer")(b.build(settings)); err != nil {
		return nil, err
	}
	return b.l, nil
}

// Forward sends each token, a row of x, to its experts, and returns their weighted answers, a row a
// token. A token that every expert dropped gets zeros. x must stay as it is until Backward returns;
// y is valid until the next Forward. Each Forward is followed by its Backward, or by Discard where
// no gradient is wanted; Eval keeps nothing for one. The same batch may be run again before its
// Backward, as where activations are recomputed: then the last pass counts.
//
// A NaN or an infinity in a row of x is an error on every rank that names the rank; there also the
// token ([alltoall.ErrNotFinite]). The next batch can be run.
func (l *Layer) Forward(ctx context.Context, x blas32.General) (y blas32.General, err error) {
	return l.train(ctx, "Forward", x, router.Batch{})
}

// ForwardBatch is Forward for tokens of which there is more to say: which are padding, of which
// modality each is, its number in the vocabulary, other features. Ends, Train and Step of info are
// the layer's to fill; Micro and StepTokens are the caller's. Slices in it must stay as they are
// until Backward returns. Padding is never routed nor counted, and its rows of y and dx are zeros;
// what its rows of x, dy and info hold changes nothing.
func (l *Layer) ForwardBatch(ctx context.Context, x blas32.General, info router.Batch) (y blas32.General, err error) {
	return l.train(ctx, "ForwardBatch", x, info)
}

// train is ForwardBatch under the name by which it was called.
func (l *Layer) train(ctx context.Context, op string, x blas32.General, info router.Batch) (y blas32.General, err error) {
	if err := l.guard.Enter(ctx, op); err != nil {
		return y, err
	}
	defer l.guard.Leave()
	kept, err := l.stages.Begin(x, info, true)
	if err == nil {
		err = l.one.checkForward(&kept.Tokens)
	}
	if err != nil {
		return y, l.guard.Misuse(op, "%w", err)
	}
	l.forget()
	l.stages.ReleaseOutput(&l.one.y)
	p := l.newPass(kept, true)
	if err := p.forward(ctx, op); err != nil {
		return y, err
	}
	l.one.last = p
	return p.kept.Y, nil
}

// Backward takes the loss's gradient with respect to the last Forward's y and returns the one with
// respect to its x, valid until the next Backward. The gradients of parameters wait for Step;
// several passes add up. The auxiliary losses' gradient is added as if their mean over all tokens
// of the step, of all ranks and passes, stood in the loss: see [Config].MicroBatches.
//
// A NaN or an infinity in dy, in a row that is not padding, is an error on every rank that names
// the rank and the row ([alltoall.ErrNotFinite]). The pass is then dropped on every rank, with all
// gradients of it; those of passes before stay, and the next batch can be run.
func (l *Layer) Backward(ctx context.Context, dy blas32.General) (dx blas32.General, err error) {
	if err := l.guard.Enter(ctx, "Backward"); err != nil {
		return dx, err
	}
	defer l.guard.Leave()
	p := l.one.last
	if p == nil {
		return dx, l.guard.Misuse("Backward", "no Forward waits for it")
	}
	if err := p.kept.CheckGradient(dy); err != nil {
		return dx, l.guard.Misuse("Backward", "%w", err)
	}
	l.stages.ReleaseInput(&l.one.dx)
	dx, err = p.backward(ctx, dy)
	l.forget()
	l.one.dx = p.kept
	return dx, err
}

// Discard gives up the last Forward, of which no gradient is wanted, as if it had not been. Every
// rank does so. Without one that waits for its Backward it does nothing.
func (l *Layer) Discard() error {
	if err := l.guard.Enter(context.Background(), "Discard"); err != nil {
		return err
	}
	defer l.guard.Leave()
	l.forget()
	return nil
}

// forget drops the last forward pass, if its Backward never came.
func (l *Layer) forget() {
	if p := l.one.last; p != nil {
		p.end("Discard")
		l.one.last, l.one.y = nil, p.kept
	}
}

// Eval is Forward for evaluation: routers leave out what is for training alone, and nothing is kept
// for Backward. It may stand between a Forward and its Backward, and changes nothing for those. y
// is valid until the next Eval.
func (l *Layer) Eval(ctx context.Context, x blas32.General) (y blas32.General, err error) {
	return l.evaluate(ctx, "Eval", x, router.Batch{})
}

// EvalBatch is to Eval what ForwardBatch is to Forward.
func (l *Layer) EvalBatch(ctx context.Context, x blas32.General, info router.Batch) (y blas32.General, err error) {
	return l.evaluate(ctx, "EvalBatch", x, info)
}

// evaluate is EvalBatch under the name by which it was called.
func (l *Layer) evaluate(ctx context.Context, op string, x blas32.General, info router.Batch) (y blas32.General, err error) {
	if err := l.guard.Enter(ctx, op); err != nil {
		return y, err
	}
	defer l.guard.Leave()
	kept, err := l.stages.Begin(x, info, false)
	if err != nil {
		return y, l.guard.Misuse(op, "%w", err)
	}
	l.stages.ReleaseOutput(&l.one.evaluated)
	p := l.newPass(kept, true)
	err = p.evaluate(ctx, op)
	p.end(op)
	l.one.evaluated = p.kept
	return p.kept.Y, err
}
