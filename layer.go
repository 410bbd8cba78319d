package switchyard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/internal/pipeline"
	"github.com/switchyard-moe/switchyard/internal/routing"
	"github.com/switchyard-moe/switchyard/internal/roworder"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule"
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
// # One goroutine at a time
//
// A method that is called while another goroutine is in one of the same layer returns [ErrInUse]
// and does nothing. Micro-batch layers may run beside each other; what concerns the parameters that
// they share (Step, Gradients, GradNorm and what changes gradients, SetFrozen, Parameters, Load,
// State, NewMicroBatch) needs all of them idle. Stats, OverlapProfile and Observe may be called at
// any time.
//
// # Order of calls
//
// Forward, Backward, in turns, any number of times, and then Step, or DiscardGradients in its
// place. Between the last Backward and Step stand Gradients, [GradNorm], [ClipGradients] and
// ScaleGradients. SetFrozen stands between steps, Eval anywhere. A call out of turn, or with what
// does not fit (a matrix that contradicts itself, a nil), is an error that names the rank, the
// operation, the value and the limit, and does nothing.
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
//   - With ErrFailed the layer has ended on this rank, and so have its micro-batch layers. Messages
//     had been sent, and the call was broken off: a rank died, a context ended in the middle, an
//     expert or a gate failed. The state of this layer may differ from that of the others, so it is
//     not used again: every later call returns ErrFailed at once, with the first error beneath it.
//     No gradient is left out without an error. A job goes on from its last checkpoint, on a new
//     world.
type Layer struct {
	cfg         Config
	world       *World
	guard       *lifecycle.Guard   // of when its methods may be called
	passes      passes             // under way
	routing     *routing.Stage     // with the gate
	order       *roworder.Stage    // of rows, between tokens and experts
	compression *compression.Stage // nil without it
	exchange    *alltoall.Exchange // of rows between the ranks
	path        *pipeline.Path     // of rows to the experts and back, in chunks
	checks      *passcheck.Stage   // of numbers that are not finite
	gradients   *gradients.Reducer // of the passes since the last step
	table       *parameters.Table
	micro       microBatches
	stats       statsBoard
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
	defer world.endLayer()
	number := world.layers
	world.layers++ // whatever comes of this one, so that all ranks count alike
	if err := cfg.Validate(world.Size()); err != nil {
		return nil, err
	}
	if world.algorithm != nil {
		cfg.Algorithm = *world.algorithm
	}
	settings := cfg.settings()
	cfg.Seed = seedOf(cfg.Seed, number)
	cfg.Compression.LSH.Seed = seedOf(cfg.Compression.LSH.Seed, number)
	b := newBuilder(world, cfg, fmt.Sprintf("layer %d", number+1))
	b.l.guard = lifecycle.New(b.guarded())
	end := world.ops.Begin(making, "", "NewLayer")
	if err := end(b.build(settings)); err != nil {
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
	tokens, err := l.passes.begin(x, info, true)
	if err == nil {
		err = l.passes.checkForward(&tokens)
	}
	if err != nil {
		return y, l.guard.Misuse(op, "%w", err)
	}
	l.forget()
	l.order.ReleaseOutput(&l.passes.y)
	p := l.newPass(tokens, true)
	if err := p.forward(ctx, op); err != nil {
		return y, err
	}
	l.passes.last = p
	return p.kept.y, nil
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
	if p := l.passes.last; p != nil {
		p.end("Discard")
		l.passes.last, l.passes.y = nil, p.kept.ordered
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
	tokens, err := l.passes.begin(x, info, false)
	if err != nil {
		return y, l.guard.Misuse(op, "%w", err)
	}
	l.order.ReleaseOutput(&l.passes.evaluated)
	p := l.newPass(tokens, true)
	defer p.end(op)
	if err := l.guard.Attempt(op, func() error { return l.forward(ctx, &p.kept) }); err != nil {
		return y, err
	}
	l.passes.evaluated = p.kept.ordered
	return p.kept.y, nil
}

// forward is the whole way of a token: route, order, dispatch, compute, combine, restore.
func (l *Layer) forward(ctx context.Context, p *pass) (err error) {
	if p.Result, err = l.routing.Route(ctx, &p.Tokens, p.compress && l.compression.GathersNode()); err != nil {
		return err
	}
	begun := time.Now()
	p.Handle, err = l.begin(ctx, p)
	l.stats.exchanging.Add(int64(time.Since(begun)))
	if p.compressed != nil {
		l.stats.exchanging.Add(-int64(p.compressed.Spent))
	}
	if err != nil {
		return err
	}
	plan := p.Handle.Plan()
	p.Global.FillFromPlan(plan)
	defer l.order.ReleaseRows(&p.ordered)
	if err = l.shareCounts(ctx, p); err != nil {
		return err
	}
	home, err := l.path.Forward(ctx, &p.Pass, &p.Tokens, &p.Global)
	if err != nil {
		return err
	}
	if p.answers, err = l.compression.Restore(ctx, p.compressed, home); err != nil {
		return err
	}
	if l.cfg.Wire.Finite || l.cfg.Compression.Assign != nil { // else nothing can have been found
		if err = l.checks.Share(ctx, "forward", &p.Fault)(); err != nil {
			return err
		}
	}
	l.micro.turn.Do(func() {
		p.y = l.order.Restore(&p.ordered, p.Decision, p.answers, p.X.Rows)
		p.Shared.AddTo(p.y)
	})
	stats := p.stats(plan)
	stats.FirstExpert = l.path.Experts.First()
	stats.Overlap = overlapStats(l.path.Stage, p)
	if p.Info.Train {
		stats.Compression = CompressionStats(l.compression.Stats(p.compressed, p.counts(), plan))
	}
	l.stats.last.Store(&stats)
	return nil
}

// begin begins the dispatch of the tokens' rows, or of their centroids, to their experts.
func (l *Layer) begin(ctx context.Context, p *pass) (*alltoall.Handle, error) {
	r := alltoall.Request{Counts: p.counts(), Cut: l.path.Cut(schedule.Forward, p.Info.Train)}
	if p.compress {
		c, err := l.compression.Begin(ctx, p.uncompressed())
		if p.compressed = c; err != nil {
			return nil, err
		}
		if c.Fault != nil {
			l.checks.Unassigned(&p.Fault, c.Fault)
		}
		l.checks.Made(&p.Fault, passcheck.Centroids, c.Centroids)
		r.Counts, r.Rows = c.Counts, c.Centroids
	} else if r.Rows, r.Token = l.order.Order(&p.ordered, p.Decision, p.X); r.Token == nil {
		l.checks.Made(&p.Fault, passcheck.Mixtures, r.Rows)
	}
	return l.exchange.Begin(ctx, r)
}

// shareCounts shares what the tokens of all ranks chose, if a loss of the gate is over them.
func (l *Layer) shareCounts(ctx context.Context, p *pass) error {
	if !p.Info.Train {
		return l.routing.ShareCounts(ctx, &p.Result, nil, 0)
	}
	choices, tokens := l.gradients.Counts()
	return l.routing.ShareCounts(ctx, &p.Result, choices, tokens)
}
