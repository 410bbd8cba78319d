package pipeline

import (
	"context"
	"sync/atomic"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/hook"
	"github.com/switchyard-moe/switchyard/internal/balancing"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/internal/rowgradients"
	"github.com/switchyard-moe/switchyard/internal/sharding"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/transport"
)

// Path takes the rows of passes to their experts and back, in chunks.
type Path struct {
	*Stage
	// Experts computes the chunks that arrive here, and the shared expert.
	Experts *experts.Stage
	// Checks looks for numbers that are not finite in what experts compute.
	Checks *passcheck.Stage
	// Turn has experts compute in turn with other passes in flight.
	Turn *lifecycle.Turn
	// Rank is this rank of the world.
	Rank transport.Rank
	// Computing, if it is not nil, counts the nanoseconds in which experts compute in training.
	Computing *atomic.Int64
	// Hooks are called as rows pass.
	Hooks hook.Hooks
	// Shards, if it is not nil, is how the ranks of a node exchange rows, each of which has a part of
	// the experts: Experts computes that. Then chunks are cut by experts, and there are no hooks, no
	// compression and no shared-out experts; ranks of the exchange are the nodes.
	Shards *sharding.Stage
}

// Pass is one pass on its path, and what Forward leaves for Backward.
type Pass struct {
	// Handle is the exchange of the rows, which has begun.
	Handle *alltoall.Handle
	// Shared has the answers of the shared expert, and then its gradients.
	Shared experts.SharedPass
	// Fault is what was found not to be finite.
	Fault passcheck.Fault
	// Number is that of the pass in its layer, and Alone is what [Stage.Open] has returned.
	Number uint64
	Alone  bool
	// Gradients has the experts compute their part of a backward pass in turn, where the leaves that
	// they enter are those of the pass; if it is nil Path.Turn does.
	Gradients *gradients.Pass
	// Hooks are those of the direction in which the pass goes, and Leaving the rows that they may
	// write to before these leave in a forward pass.
	Hooks   *Hooks
	Leaving blas32.General
	// Rows carries the gradients of all rows in a backward pass, beside those of the centroids that
	// went in their place; nil if those that went are all rows, or their gradients are all that
	// travel.
	Rows *rowgradients.Pass
	// Balance has the rows of other ranks' experts computed here, and those of some hosted here
	// elsewhere; nil if no experts are shared out.
	Balance *balancing.Pass

	experts experts.Pass
	shards  *sharding.Pass // nil unless Path.Shards
}

// timed runs what experts compute, of which the time may count.
func (l *Path) timed(p *Pass, train bool, do func()) {
	if count := l.Computing != nil && train; count || p.Balance != nil {
		defer func(begin time.Time) {
			took := time.Since(begin)
			p.Balance.Computed(took)
			if count {
				l.Computing.Add(int64(took))
			}
		}(time.Now())
	}
	do()
}

// inTurn runs a part of a backward pass that computes.
func (l *Path) inTurn(p *Pass, do func()) {
	if p.Gradients == nil {
		l.Turn.Do(do)
		return
	}
	p.Gradients.Do(do)
}

// Forward sends the rows of a pass to their experts, has these compute, and returns the answers,
// sorted as the rows.
func (l *Path) Forward(ctx context.Context, p *Pass, t *batch.Tokens, g *batch.Global) (answers blas32.General, err error) {
	chunks := make([]chunk, p.Handle.Chunks())
	first := func(i int) (n int) { // chunks are dispatched in order
		for k := range i { // not a copy of each: its answers may be scattered at this moment
			n += chunks[k].rows.Rows
		}
		return n
	}
	if err := l.begin(ctx, p, g); err != nil {
		return blas32.General{}, err
	}
	of := Kind{Pass: schedule.Forward, Train: t.Info.Train, Alone: p.Alone, Number: p.Number}
	err = l.Run(ctx, of, len(chunks), Steps{
		Dispatch: func(ctx context.Context, i int) (err error) {
			p.Hooks.rows(ctx, BeforeDispatch, p.Handle, i, p.Leaving, 0)
			chunks[i].rows, chunks[i].ends, err = p.Handle.Dispatch(ctx, i)
			return err
		},
		Gather: func(ctx context.Context, i int) (err error) {
			chunks[i].rows, chunks[i].ends, err = p.shards.Gather(ctx, i, chunks[i].rows, chunks[i].ends)
			return err
		},
		Scatter: func(ctx context.Context, i int) error {
			sums, err := p.shards.Scatter(ctx, i, chunks[i].answers)
			chunks[i].answers = []blas32.General{sums}
			return err
		},
		Shared: func() {
			if s := l.Experts.Shared; s != nil {
				l.Turn.Do(func() { p.Shared = s.Forward(t, g.FirstLeaf(l.Rank)) })
			}
		},
		Experts: func(i int) { l.answer(ctx, p, t.Info.Train, &chunks[i], i, first(i)) },
		Combine: func(ctx context.Context, i int) (err error) {
			if err := p.Balance.Failed(); err != nil {
				return err
			}
			if answers, err = p.Handle.Combine(ctx, i, chunks[i].answers...); err == nil {
				l.combined(ctx, p, passcheck.RowAnswers, p.Handle, i, answers)
			}
			return err
		},
	})
	if err = p.Balance.EndForward(err); err == nil {
		l.home(p, passcheck.RowAnswers, p.Handle, answers)
	}
	return answers, err
}

// chunk is one of a forward pass: the rows that came for the experts here, where they end, and the
// answers.
type chunk struct {
	rows    blas32.General
	ends    []int
	answers []blas32.General
}

// answer computes the answers to chunk number i, whose first row is number first of all.
func (l *Path) answer(ctx context.Context, p *Pass, train bool, c *chunk, i, first int) {
	p.Balance.Count(c.ends)
	l.Checks.Arrived(&p.Fault, passcheck.Rows, c.rows, l.from(p, first))
	p.Hooks.rows(ctx, AfterDispatch, p.Handle, i, c.rows, first)
	l.Turn.Do(func() {
		l.timed(p, train, func() { c.answers = l.Experts.Forward(&p.experts, i, c.rows, c.ends) })
	})
	if len(p.Balance.Runs()) > 0 {
		if p.Balance.Await() != nil {
			return // Combine has the error
		}
		l.Turn.Do(func() {
			l.timed(p, train, func() { l.Experts.ForwardRuns(&p.experts, i, c.rows, c.ends, c.answers) })
		})
	}
	l.Checks.Made(&p.Fault, passcheck.Answers, c.answers...)
	c.answers = p.Hooks.answers(ctx, p.Handle, i, c.answers, first)
}

// begin begins a pass whose exchange has begun, of the leaves of a batch.
func (l *Path) begin(ctx context.Context, p *Pass, g *batch.Global) error {
	if l.Shards != nil {
		p.shards = l.Shards.Begin(p.Number, p.Handle, g.Leaves)
		p.experts = l.Experts.Begin(p.shards, 0)
		return nil
	}
	firstLeaf := mat.Sum(g.Leaves[:g.First])
	p.experts = l.Experts.Begin(p.Handle, firstLeaf)
	if p.Balance == nil {
		return nil
	}
	p.Balance.Start(ctx, p.Handle.Allocation(), firstLeaf)
	var err error
	l.Turn.Do(func() { err = l.Experts.Share(&p.experts, p.Balance.Runs()) })
	if err != nil {
		return p.Balance.EndForward(err)
	}
	return nil
}

// Release ends a pass, whether it has gone back or not, and gives its memory to later ones.
func (l *Path) Release(p *Pass) {
	l.Turn.Do(func() {
		l.Experts.End(&p.experts)
		l.Experts.Shared.End(&p.Shared)
	})
	p.shards.End()
	p.shards = nil
	p.Balance.Release()
	p.Balance = nil
	if p.Handle != nil {
		p.Handle.Release()
		p.Handle = nil
	}
	if p.Rows != nil {
		p.Rows.Release()
		p.Rows = nil
	}
}

// combined calls the hook after the combine of a chunk, if there is one. What its rows came with is
// checked before.
func (l *Path) combined(ctx context.Context, p *Pass, k passcheck.Kind, of *alltoall.Handle, chunk int, m blas32.General) {
	if !p.Hooks.Has(AfterCombine) {
		return
	}
	for _, r := range of.Leaving(chunk) {
		host := l.host(of)
		p.Hooks.arrived(k, mat.Rows(m, r.First, r.First+r.Rows), func(row int) transport.Rank { return host(r.First + row) })
	}
	p.Hooks.rows(ctx, AfterCombine, of, chunk, m, 0)
}

// home checks the rows that have come back, if no hook has had them, and takes over what hooks have
// done wrong.
func (l *Path) home(p *Pass, k passcheck.Kind, of *alltoall.Handle, m blas32.General) {
	if !p.Hooks.Has(AfterCombine) {
		l.Checks.Arrived(&p.Fault, k, m, l.host(of))
	}
	p.Hooks.Found(&p.Fault)
}

// from tells from which rank of the world a row came that is computed here after the first ones.
func (l *Path) from(p *Pass, first int) func(row int) transport.Rank {
	if p.shards == nil {
		return l.sender(p.Handle, first)
	}
	return func(row int) transport.Rank { return transport.Rank(p.shards.Plan().Sender(first + row)) }
}

// sender tells from which rank of the world a row came that is here after the first ones.
func (l *Path) sender(of *alltoall.Handle, first int) func(row int) transport.Rank {
	return func(row int) transport.Rank {
		plan := of.Plan()
		return l.world(plan, plan.Sender(first+row))
	}
}

// host tells which rank of the world has the expert of a row of this rank.
func (l *Path) host(of *alltoall.Handle) func(row int) transport.Rank {
	return func(row int) transport.Rank {
		plan := of.Plan()
		return l.world(plan, plan.Host(row))
	}
}

// world is a rank of the plan's copy of the experts as one of the world, in which copies follow
// each other, or the ranks of a node.
func (l *Path) world(plan *alltoall.Plan, rank int) transport.Rank {
	return l.Rank + transport.Rank((rank-plan.Rank)*l.Shards.Places())
}
