package passes

import (
	"context"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/hook"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/internal/pipeline"
)

// hooks returns those of one direction of a pass.
func (s *Stages) hooks(p *Pass, backward bool) *pipeline.Hooks {
	points := &s.Path.Hooks.Forward
	if backward {
		points = &s.Path.Hooks.Backward
	}
	return pipeline.NewHooks(points, hook.Call{
		Pass: p.number, Step: p.Info.Step, Train: p.Info.Train, Backward: backward,
	}, s.Checks, s.Order.Experts())
}

// start returns m, which has a row a token, as the hook before the layer makes it, in memory of the
// pass; or m itself without a hook. If it fails the pass goes on with m, since the other ranks
// count on its rows.
func (s *Stages) start(ctx context.Context, p *Pass, m blas32.General) blas32.General {
	if !p.Hooks.Has(pipeline.Start) || m.Rows == 0 {
		return m
	}
	own := p.Copy(m)
	if !p.Hooks.Tokens(ctx, pipeline.Start, own) {
		return m
	}
	p.ZeroPadding(own)
	return own
}

// end calls the hook after the layer, if there is one, and fails on every rank if that of one has.
func (s *Stages) end(ctx context.Context, p *Pass, op string, m blas32.General) error {
	if !p.Hooks.Has(pipeline.End) {
		return nil
	}
	p.Hooks.Tokens(ctx, pipeline.End, m)
	p.ZeroPadding(m)
	var f passcheck.Fault
	p.Hooks.Found(&f)
	return s.Checks.Share(ctx, p.ranks.Checks, op, &f)()
}

// leaving returns the rows of a request sorted by expert, in memory that a hook may write to.
func (s *Stages) leaving(p *Pass, r *alltoall.Request) blas32.General {
	switch {
	case p.Compressed != nil: // whose stage needs its centroids
		return copied(r.Rows)
	case r.Token != nil:
		return s.Order.Gather(&p.ordered, p.Decision, p.X)
	}
	return r.Rows
}

func copied(m blas32.General) blas32.General {
	c := mat.Resize(blas32.General{}, m.Rows, m.Cols)
	mat.Copy(c, m)
	return c
}
