package pipeline

import (
	"context"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/schedule"
)

// back is a backward pass on its path.
type back struct {
	*Path
	p        *Pass
	danswers blas32.General
	arrived  []blas32.General   // by chunk
	computed [][]blas32.General // by chunk
	weighed  int                // chunks of which the gradients of the weights of runs are computed
	drows    blas32.General     // those that have come back
}

// Backward sends the gradients of the answers to the experts, has these compute, and returns the
// gradients of the rows. dy is the gradient of the output, for the shared expert.
//
// With p.Rows the answers are those of centroids, of whose gradients the experts' parameters learn,
// and what comes back are the gradients of all rows, whose rows may stand apart. Each chunk has
// both.
func (l *Path) Backward(ctx context.Context, p *Pass, danswers, dy blas32.General) (drows blas32.General, err error) {
	of := Kind{Pass: schedule.Backward, Train: true, Alone: p.Alone, Number: p.Number}
	chunks, err := l.recut(ctx, p, of)
	if err != nil {
		return blas32.General{}, err
	}
	b := back{
		Path: l, p: p, danswers: danswers,
		arrived: make([]blas32.General, chunks), computed: make([][]blas32.General, chunks),
	}
	p.Balance.Back(ctx)
	err = l.Run(ctx, of, chunks, Steps{
		Dispatch: b.dispatch,
		Gather: func(ctx context.Context, i int) (err error) {
			b.arrived[i], err = p.shards.GatherBack(ctx, i, b.arrived[i])
			return err
		},
		Scatter: func(ctx context.Context, i int) error {
			sums, err := p.shards.Scatter(ctx, i, b.computed[i])
			b.computed[i] = []blas32.General{sums}
			return err
		},
		Shared: func() {
			if s := l.Experts.Shared; s != nil {
				l.inTurn(p, func() { s.Backward(&p.Shared, dy) })
			}
		},
		Experts: func(i int) {
			if b.compute(ctx, i); !l.Experts.Splits() {
				b.weigh(ctx)
			}
		},
		Weights: func(i int) { b.weights(ctx, i) },
		Combine: b.combine,
	})
	if err = p.Balance.EndBackward(err); err == nil && p.Balance != nil {
		l.inTurn(p, func() { err = p.Balance.Join() })
	}
	switch {
	case err != nil:
	case p.Rows != nil:
		l.home(p, passcheck.AllReturnedGradients, p.Rows.Handle(), b.drows)
	default:
		l.home(p, passcheck.ReturnedGradients, p.Handle, b.drows)
	}
	return b.drows, err
}

// recut cuts the exchange of a backward pass, and announces that of the gradients of all rows, if
// there is one, which is cut alike. It returns the number of chunks.
func (l *Path) recut(ctx context.Context, p *Pass, of Kind) (chunks int, err error) {
	cut := l.Cut(of)
	if err := p.Handle.Recut(cut.Chunks()); err != nil || p.Rows == nil {
		return cut.Chunks(), err
	}
	defer func(begin time.Time) { l.cfg.Exchanging.Add(int64(time.Since(begin))) }(time.Now())
	return cut.Chunks(), p.Rows.Announce(ctx, cut, p.Handle)
}

// weights computes the gradients of the weights of a chunk: first those of runs, which go home
// while the others are computed.
func (b *back) weights(ctx context.Context, i int) {
	of, p := b.Experts, b.p
	if len(p.Balance.Runs()) > 0 {
		b.inTurn(p, func() { b.timed(p, true, func() { of.BackwardWeightsOfRuns(&p.experts, i) }) })
	}
	b.weigh(ctx)
	b.inTurn(p, func() { b.timed(p, true, func() { of.BackwardWeights(&p.experts, i) }) })
}

// weigh notes that the gradients of the weights of a chunk's runs are computed.
func (b *back) weigh(ctx context.Context) {
	if b.weighed++; b.weighed == len(b.arrived) {
		b.p.Balance.Send(ctx)
	}
}

// first is the number of rows that have arrived before those of a chunk.
func (b *back) first(chunk int) (n int) {
	for _, m := range b.arrived[:chunk] {
		n += m.Rows
	}
	return n
}

func (b *back) dispatch(ctx context.Context, i int) (err error) {
	p := b.p
	if p.Rows != nil {
		if err := p.Rows.Dispatch(ctx, i, p.Handle.Plan()); err != nil {
			return err
		}
	}
	p.Hooks.rows(ctx, BeforeDispatch, p.Handle, i, b.danswers, 0)
	b.arrived[i], err = p.Handle.DispatchBack(ctx, i, b.danswers)
	return err
}

func (b *back) compute(ctx context.Context, i int) {
	p, first := b.p, b.first(i)
	b.Checks.Arrived(&p.Fault, passcheck.ExpertGradients, b.arrived[i], b.from(p, first))
	p.Hooks.rows(ctx, AfterDispatch, p.Handle, i, b.arrived[i], first)
	if p.Rows != nil {
		b.computeRows(ctx, i)
		b.inTurn(p, func() { b.timed(p, true, func() { b.Experts.Backward(&p.experts, i, b.arrived[i]) }) })
		return
	}
	b.inTurn(p, func() { b.timed(p, true, func() { b.computed[i] = b.Experts.Backward(&p.experts, i, b.arrived[i]) }) })
	b.Checks.Made(&p.Fault, passcheck.RowGradients, b.computed[i]...)
	b.computed[i] = p.Hooks.answers(ctx, p.Handle, i, b.computed[i], first)
}

// computeRows has the experts compute the gradients of all rows.
func (b *back) computeRows(ctx context.Context, i int) {
	p, c := b.p, b.p.Rows.Chunk(i)
	b.Checks.Arrived(&p.Fault, passcheck.AllExpertGradients, c.Gradients, b.sender(p.Rows.Handle(), c.First))
	b.inTurn(p, func() { b.timed(p, true, func() { b.Experts.RowGradients(&p.experts, i, c.Gradients, c.Of) }) })
	b.Checks.Made(&p.Fault, passcheck.RowGradients, c.Gradients)
	p.Hooks.rows(ctx, BeforeCombine, p.Rows.Handle(), i, c.Gradients, c.First)
}

func (b *back) combine(ctx context.Context, i int) (err error) {
	p := b.p
	if p.Rows != nil {
		if b.drows, err = p.Rows.Combine(ctx, i); err == nil {
			b.combined(ctx, p, passcheck.AllReturnedGradients, p.Rows.Handle(), i, b.drows)
		}
		return err
	}
	if b.drows, err = p.Handle.Combine(ctx, i, b.computed[i]...); err == nil {
		b.combined(ctx, p, passcheck.ReturnedGradients, p.Handle, i, b.drows)
	}
	return err
}
