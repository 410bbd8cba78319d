package switchyard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/agreement"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/lockstep"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/internal/pipeline"
	"github.com/switchyard-moe/switchyard/internal/routing"
	"github.com/switchyard-moe/switchyard/internal/roworder"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/autotune"
	"github.com/switchyard-moe/switchyard/transport"
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
// they share (Step, Gradients, Parameters, Load, NewMicroBatch) needs all of them idle. Stats,
// OverlapProfile and Observe may be called at any time.
//
// # Order of calls
//
// Forward, Backward, in turns, any number of times, and then Step. Eval may stand anywhere. A call
// out of turn, or with what does not fit (a matrix that contradicts itself, a nil), is an error
// that names the rank, the operation, the value and the limit, and does nothing.
//
// # After an error
//
// errors.Is(err, [ErrFailed]) tells what the layer is after it:
//
//   - Without ErrFailed the layer goes on. Either the call has done nothing: its context had ended
//     before it began, or it was a mistake. Then it may be called again, and the result has the
//     bits that it would have had without the first call; the other ranks wait for it. Or all ranks
//     have refused the batch together ([alltoall.ErrRefused]: a token that cannot be routed, a
//     number that is not finite), or the step (an optimiser that cannot take it). Then the pass is
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
	stream      lockstep.StreamID // of its operations
	label       string            // what errors call it: "layer 1"
	layout      layout.Layout
	gate        router.Gate
	routing     *routing.Stage
	order       *roworder.Stage
	compression *compression.Stage // nil without it
	path        *pipeline.Path     // of rows to the experts and back, in chunks
	exchange    *alltoall.Exchange
	everyone    *collective.Comm // over the world: the gate's gradients, token counts, configuration
	table       *parameters.Table
	checks      *passcheck.Stage // of numbers that are not finite
	guard       *lifecycle.Guard // of when its methods may be called
	micro       []*Layer
	inTurn      bool // it has micro-batch layers or is one: they compute in turn

	last      *pass              // the forward pass that Backward belongs to
	gradients *gradients.Reducer // of the passes since the last step
	steps     int                // taken
	stats     statsBoard
	pool      batch.Pool // memory of copies without padding
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
	l := &Layer{cfg: cfg, world: world, label: fmt.Sprintf("layer %d", number+1)}
	l.layout = layout.New(layout.Config{
		Rank: int(world.Rank()), Size: world.Size(), ExpertParallel: cfg.ExpertParallel,
		Experts: cfg.Experts, Hosted: cfg.Hosted,
	})
	l.guard = lifecycle.New(guarded(l))
	end := world.begin(making, "", "NewLayer")
	if err := end(l.make(number)); err != nil {
		return nil, err
	}
	return l, nil
}

// guarded describes l to its guard.
func guarded(l *Layer) lifecycle.Config {
	return lifecycle.Config{
		Rank: l.world.joined(l.world.Rank()),
		Begin: func(op string) func(error) error {
			// A rank may call Forward where others call ForwardBatch.
			return l.world.begin(l.stream, l.label, strings.TrimSuffix(op, "Batch"))
		},
		Ended: func(cause error) { l.world.log.Fail(l.stream, cause) },
	}
}

func (l *Layer) make(number int) error {
	oneCopy, replicas, err := l.connect()
	if err != nil {
		return err
	}
	if err := l.agreement().Compare(context.Background(), l.cfg.settings()); err != nil {
		return err
	}
	l.cfg.Seed = seedOf(l.cfg.Seed, number)
	l.cfg.Compression.LSH.Seed = seedOf(l.cfg.Compression.LSH.Seed, number)
	return l.build(oneCopy, replicas)
}

// seedOf is the seed of a layer by its number in its world: the configured one for the first, and
// another for each that follows. (The finaliser of SplitMix64; Steele et al. 2014.)
func seedOf(seed uint64, layer int) uint64 {
	if layer == 0 {
		return seed
	}
	h := seed ^ uint64(layer)*0xd1342543de82ef95
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// connect makes the layer's own channels, and returns those between the ranks of a copy of the
// experts, and between the ranks that host the same experts.
func (l *Layer) connect() (oneCopy, replicas *collective.Comm, err error) {
	var checks *collective.Comm
	l.stream = lockstep.StreamID(l.world.channel + 1) // the number of the view that comes first
	for _, of := range []struct {
		comm    **collective.Comm
		members []transport.Rank
	}{
		{&l.everyone, l.layout.World()}, {&replicas, l.layout.Replicas()},
		{&oneCopy, l.layout.OneCopy()}, {&checks, l.layout.World()},
	} {
		view, err := l.world.View(of.members)
		if err != nil {
			return nil, nil, err
		}
		*of.comm = collective.New(view)
	}
	l.checks = passcheck.New(passcheck.Config{
		Comm: checks, Rank: l.world.Rank(), Joined: l.world.joined, All: l.cfg.Wire.Finite,
	})
	return oneCopy, replicas, nil
}

// build makes what the layer is of, after the ranks have agreed on its configuration.
func (l *Layer) build(oneCopy, replicas *collective.Comm) error {
	if err := l.agreement().Built(context.Background(), l.buildParts()); err != nil {
		return err
	}
	if err := l.buildExchange(); err != nil {
		return err
	}
	l.table = parameters.New(parameters.Config{
		Sets: l.sets(), Gate: l.gate, Placement: l.layout.Placement, Rank: l.layout.Rank, Comm: oneCopy,
	})
	l.gradients = gradients.New(gradients.Config{
		Sets: l.sets(), Gate: l.gate, World: l.everyone, Replicas: replicas,
		ExpertParallel: l.layout.Parallel, MicroBatches: l.cfg.batches(), Joined: l.world.joined,
	})
	return nil
}

// agreement is the ranks that build the layer.
func (l *Layer) agreement() agreement.Ranks {
	return agreement.Ranks{Comm: l.everyone, Joined: l.world.joined}
}

// sets are the parameters that this rank holds.
func (l *Layer) sets() parameters.Sets {
	return parameters.Sets{
		Gate: l.gate.Params(), Experts: l.path.Experts.Params(), Shared: l.path.Experts.Shared.Params(),
		Gains: l.compression.Gains(),
	}
}

// buildParts makes what takes no other rank.
func (l *Layer) buildParts() (err error) {
	if l.gate, err = l.cfg.Router.New(router.Shape{Dim: l.cfg.Dim, Experts: l.cfg.Experts, Seed: l.cfg.Seed}); err != nil {
		return err
	}
	l.newRouting()
	l.order = roworder.New(l.cfg.Dim)
	l.path, err = l.cfg.newPath(l.layout, pipeline.Path{Checks: l.checks, Compute: l.compute, Rank: l.world.Rank()},
		autotune.Config{Comm: l.everyone, Rank: int(l.world.Rank()), Ranks: l.world.Size()}, &l.stats.exchanging)
	return err
}

// buildExchange makes the way of the rows.
func (l *Layer) buildExchange() error {
	leafRows := routing.Slots(l.gate)
	var err error
	l.compression, err = newCompression(l.cfg, l.world, l.layout, leafRows, &l.stats.exchanging)
	if err != nil {
		return err
	}
	view, err := l.world.View(l.layout.OneCopy())
	if err != nil {
		return err
	}
	if l.cfg.Compression.When != CompressNever && l.cfg.Compression.Nodes {
		leafRows = alltoall.DefaultMaxRows // of other ranks too; MaxRows bounds all of them together
	}
	wire := l.cfg.Wire
	wire.Finite = false // an exchange can only refuse alone: l.checks looks for what is not finite
	cfg := alltoall.Config{
		Placement: l.layout.Placement, Dim: l.cfg.Dim, MaxRows: l.cfg.MaxRows, LeafRows: leafRows,
		Algorithm: l.cfg.Algorithm, Topology: l.layout.Topology(l.cfg.Topology), Wire: wire, Groups: l.path.Most(),
	}
	if l.cfg.Links != (links.Links{}) {
		cfg.Costs = l.cfg.Links
	}
	l.exchange, err = alltoall.New(view, cfg)
	return err
}

// newRouting makes the stage that routes, after the gate.
func (l *Layer) newRouting() {
	l.routing = routing.New(routing.Config{
		Gate: l.gate, Experts: l.cfg.Experts, Comm: l.everyone, Joined: l.world.joined,
		Replicas: l.layout.Copies, Compute: l.compute,
		Abort: func(ctx context.Context) error { return l.exchange.Refuse(ctx) },
		AwaitAbort: func(ctx context.Context) error {
			_, err := l.exchange.Begin(ctx, alltoall.Request{Counts: alltoall.Counts{Rows: []int{}}})
			return err
		},
	})
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
// modality each is, its number in the vocabulary, other features. Ends, Train and Step of side are
// the layer's to fill; Micro and StepTokens are the caller's. Slices in it must stay as they are
// until Backward returns. Padding is never routed nor counted, and its rows of y and dx are zeros;
// what its rows of x, dy and side hold changes nothing.
func (l *Layer) ForwardBatch(ctx context.Context, x blas32.General, side router.Batch) (y blas32.General, err error) {
	return l.train(ctx, "ForwardBatch", x, side)
}

// train is ForwardBatch under the name by which it was called.
func (l *Layer) train(ctx context.Context, op string, x blas32.General, side router.Batch) (y blas32.General, err error) {
	if err := l.guard.Enter(ctx, op); err != nil {
		return y, err
	}
	defer l.guard.Leave()
	p, err := l.newPass(op, x, side, true)
	if err != nil {
		return y, err
	}
	if l.last != nil && !p.Repeats(l.last.Tokens) {
		return y, l.guard.Misuse(op, "the Forward before, of another batch, has had no Backward: "+
			"call Backward, or Discard where no gradient is wanted, or Eval in place of Forward")
	}
	l.forget()
	begin := time.Now()
	if err := l.guard.Attempt(op, func() error { return l.forward(ctx, p) }); err != nil {
		if lifecycle.AgreedOn(err) {
			p.release()
		}
		return y, err
	}
	l.path.EndPass(schedule.Forward, begin)
	l.last = p
	l.guard.ForwardDone()
	return p.y, nil
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

// Eval is Forward for evaluation: routers leave out what is for training alone, and nothing is kept
// for Backward. It may stand between a Forward and its Backward, and changes nothing for those. y
// is valid until the next Eval.
func (l *Layer) Eval(ctx context.Context, x blas32.General) (y blas32.General, err error) {
	return l.evaluate(ctx, "Eval", x, router.Batch{})
}

// EvalBatch is to Eval what ForwardBatch is to Forward.
func (l *Layer) EvalBatch(ctx context.Context, x blas32.General, side router.Batch) (y blas32.General, err error) {
	return l.evaluate(ctx, "EvalBatch", x, side)
}

// evaluate is EvalBatch under the name by which it was called.
func (l *Layer) evaluate(ctx context.Context, op string, x blas32.General, side router.Batch) (y blas32.General, err error) {
	if err := l.guard.Enter(ctx, op); err != nil {
		return y, err
	}
	defer l.guard.Leave()
	p, err := l.newPass(op, x, side, false)
	if err != nil {
		return y, err
	}
	defer p.release()
	if err := l.guard.Attempt(op, func() error { return l.forward(ctx, p) }); err != nil {
		return y, err
	}
	return p.y, nil
}

// forward is the whole way of a token: route, order, dispatch, compute, combine, restore.
func (l *Layer) forward(ctx context.Context, p *pass) (err error) {
	if p.Result, err = l.routing.Route(ctx, p.Tokens, p.compress && l.compression.GathersNode()); err != nil {
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
	if err = l.shareCounts(ctx, p); err != nil {
		return err
	}
	home, err := l.path.Forward(ctx, &p.Pass, p.Tokens, &p.Global)
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
	l.compute(func() {
		p.y = l.order.Restore(p.Decision, p.answers, p.X.Rows, p.Info.Train)
		p.Shared.AddTo(p.y)
	})
	stats := p.stats(plan)
	stats.FirstExpert, _ = l.layout.Placement.Of(l.layout.Rank)
	stats.Overlap = overlapStats(l.path.Stage, p)
	if p.Info.Train {
		stats.Compression = CompressionStats(l.compression.Stats(p.compressed, p.counts(), plan))
	}
	l.stats.set(stats)
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
		l.checks.Made(&p.Fault, "forward", "the centroids of its rows", c.Centroids)
		r.Counts, r.Rows = c.Counts, c.Centroids
	} else if r.Rows, r.Token = l.order.Order(p.Decision, p.X); r.Token == nil {
		l.checks.Made(&p.Fault, "forward", "the mixtures of its tokens", r.Rows)
	}
	return l.exchange.Begin(ctx, r)
}

// newPass begins a pass over x, of the method op.
func (l *Layer) newPass(op string, x blas32.General, side router.Batch, train bool) (*pass, error) {
	shape := batch.Shape{
		Dim: l.cfg.Dim, Experts: l.cfg.Experts, Group: l.cfg.Group, Train: train, Step: l.steps,
	}
	tokens, err := batch.New(shape, &l.pool, x, side)
	if err != nil {
		return nil, l.guard.Misuse(op, "%w", err)
	}
	return &pass{Tokens: tokens, compress: train && l.compression.Enabled(l.steps)}, nil
}

// shareCounts shares what the tokens of all ranks chose, if a loss of the gate is over them.
func (l *Layer) shareCounts(ctx context.Context, p *pass) error {
	if !p.Info.Train {
		return l.routing.ShareCounts(ctx, &p.Result, nil, 0)
	}
	choices, tokens := l.gradients.Counts()
	return l.routing.ShareCounts(ctx, &p.Result, choices, tokens)
}

// forget drops the last forward pass, if its Backward never came.
func (l *Layer) forget() {
	if l.last != nil {
		l.last.release()
		l.last = nil
		l.guard.ForwardDropped()
	}
}
