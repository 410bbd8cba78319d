package passes

import (
	"context"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/internal/pipeline"
	"github.com/switchyard-moe/switchyard/internal/routing"
	"github.com/switchyard-moe/switchyard/schedule"
)

// Forward is the whole way of a token: route, order, dispatch, compute, combine, restore. It makes
// p.Y.
func (s *Stages) Forward(ctx context.Context, p *Pass) (err error) {
	began := time.Now()
	p.Number, p.Alone = p.number, p.alone
	p.Hooks = s.hooks(p, false)
	p.X = s.start(ctx, p, p.X)
	compress := p.Info.Train && s.Compression.Enabled(p.Info.Step)
	if p.Result, err = s.Routing.Route(ctx, p.ranks.routing(), &p.Tokens, compress && s.Compression.GathersNode()); err != nil {
		return err
	}
	if err := s.begin(ctx, p, compress); err != nil {
		return err
	}
	defer s.Order.ReleaseRows(&p.ordered)
	p.Global.FillFromPlan(p.Handle.Plan())
	if err = s.shareCounts(ctx, p); err != nil {
		return err
	}
	home, err := s.Path.Forward(ctx, &p.Pass, &p.Tokens, &p.Global)
	if err != nil {
		return err
	}
	if p.answers, err = s.Compression.Restore(ctx, p.Compressed, home); err != nil {
		return err
	}
	if s.ForwardChecks || p.Hooks != nil {
		if err = s.Checks.Share(ctx, p.ranks.Checks, "forward", &p.Fault)(); err != nil {
			return err
		}
	}
	s.Turn.Do(func() {
		p.Y = s.Order.Restore(&p.ordered, p.Decision, p.answers, p.X.Rows)
		p.Shared.AddTo(p.Y)
	})
	if err = s.end(ctx, p, "forward", p.Y); err != nil {
		return err
	}
	s.Path.EndPass(p.Kind(schedule.Forward), began)
	p.chose()
	return nil
}

// Kind is that of a pass for the pipeline.
func (p *Pass) Kind(of schedule.Pass) pipeline.Kind {
	return pipeline.Kind{Pass: of, Train: p.Info.Train, Alone: p.alone, Number: p.number}
}

// begin begins the dispatch of the tokens' rows, or of their centroids, to their experts.
func (s *Stages) begin(ctx context.Context, p *Pass, compress bool) (err error) {
	begun := time.Now()
	defer func() {
		took := time.Since(begun)
		if p.Compressed != nil {
			took -= p.Compressed.Spent
		}
		s.Exchanging.Add(int64(took))
	}()
	r := alltoall.Request{Counts: s.Order.Counts(p.counts()), Cut: s.Path.Cut(p.Kind(schedule.Forward))}
	if p.Balance = s.Balance.Begin(p.number, p.Info.Train); p.Balance != nil {
		r.Allocate, r.RowTime = p.Balance.Allocate, p.Balance.RowTime()
	}
	if compress {
		c, err := s.Compression.Begin(ctx, p.number, p.uncompressed())
		if p.Compressed = c; err != nil {
			return err
		}
		if c.Fault != nil {
			s.Checks.Unassigned(&p.Fault, c.Fault)
		}
		s.Checks.Made(&p.Fault, passcheck.Centroids, c.Centroids)
		r.Counts, r.Rows = c.Counts, c.Centroids
	} else if r.Rows, r.Token = s.Order.Order(&p.ordered, p.Decision, p.X); r.Token == nil {
		s.Checks.Made(&p.Fault, passcheck.Mixtures, r.Rows)
	}
	if p.Hooks.Has(pipeline.BeforeDispatch) {
		p.Leaving = s.leaving(p, &r)
		r.Rows, r.Token, r.Late = p.Leaving, nil, true
	}
	p.Handle, err = p.ranks.Exchange.Begin(ctx, r)
	return err
}

// shareCounts shares what the tokens of all ranks chose, if a loss of the gate is over them.
func (s *Stages) shareCounts(ctx context.Context, p *Pass) error {
	var before routing.Earlier
	if p.Info.Train {
		before = &p.grads
	}
	return s.Routing.ShareCounts(ctx, p.ranks.routing(), &p.Result, before, !p.alone)
}

// chose notes what the tokens of a pass chose. A plain one has chosen when it goes back: before
// that it may be given up as if it had not been.
func (p *Pass) chose() {
	switch {
	case !p.Info.Train:
		p.grads.Chose(nil, 0)
	case !p.plain:
		p.grads.Chose(p.Counted, p.Global.TotalTokens())
	}
}
