package passes

import (
	"cmp"
	"context"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/internal/pipeline"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule"
)

// Backward is Forward the other way: it makes p.DX of dy, the gradient of p.Y.
func (s *Stages) Backward(ctx context.Context, p *Pass, dy blas32.General) error {
	if p.plain {
		if err := s.Gradients.Reduce(ctx); err != nil { // an earlier pass not yet summed
			return err
		}
	}
	p.Gradients = &p.grads
	defer s.Order.ReleaseRows(&p.ordered)
	begin := time.Now()
	p.Hooks = s.hooks(p, true)
	dy = p.WithoutPadding(dy)
	s.Checks.Gradient(&p.Fault, dy)
	if p.Fault.Found() {
		dy = mat.Zero(mat.Resize(blas32.General{}, dy.Rows, dy.Cols)) // the others count on its rows
	} else {
		dy = s.start(ctx, p, dy)
	}
	back, err := s.checkedBackward(ctx, p, dy)
	if err != nil {
		return err
	}
	p.grads.Do(func() {
		p.DX = s.Order.OrderBackward(&p.ordered, p.Decision, back, p.X.Rows)
		err = s.Routing.Backward(&p.Tokens, &p.Result, router.Gradient{
			Weights: p.dweights, Losses: s.Gradients.Losses(p.Info.StepTokens), Rows: back, DX: p.DX,
		})
		p.Shared.AddGradientTo(p.DX)
	})
	if err != nil {
		return err
	}
	if err = s.end(ctx, p, "backward", p.DX); err != nil {
		return err
	}
	if s.Compression != nil {
		s.Compression.EndPass(p.number, p.Compressed, p.uncompressed())
	}
	s.Path.EndPass(p.Kind(schedule.Backward), begin)
	b := gradients.Batch{
		Tokens: p.Global.Tokens, Leaves: p.Global.Leaves, StepTokens: p.Info.StepTokens,
		Counts: p.Counted,
	}
	if p.plain {
		p.grads.Defer(b)
		return nil
	}
	return p.grads.Reduce(ctx, b)
}

// checkedBackward is rowsBackward, which fails on every rank if a number of one is not finite. What
// a rank finds it tells while rows travel; after them if they are checked too, or hooks are called.
func (s *Stages) checkedBackward(ctx context.Context, p *Pass, dy blas32.General) (back blas32.General, err error) {
	var heard func() error
	after := s.Checks.Wire.Finite || p.Hooks != nil
	if !after {
		heard = s.Checks.Share(ctx, p.ranks.Checks, "backward", &p.Fault)
	}
	back, err = s.rowsBackward(ctx, p, dy)
	if after && err == nil {
		heard = s.Checks.Share(ctx, p.ranks.Checks, "backward", &p.Fault)
	}
	if heard != nil {
		err = cmp.Or(err, heard())
	}
	return back, err
}

// rowsBackward makes the gradients of the tokens' rows of that of y: by way of the experts, which
// enter those of their parameters.
func (s *Stages) rowsBackward(ctx context.Context, p *Pass, dy blas32.General) (back blas32.General, err error) {
	var drows blas32.General
	s.Turn.Do(func() { drows, p.dweights = s.Order.RestoreBackward(&p.ordered, p.Decision, p.answers, dy) })
	s.Checks.Made(&p.Fault, passcheck.AnswerGradients, drows)
	there, err := s.Compression.RestoreBackward(ctx, p.Compressed, drows, compression.Leaves{
		First: p.Global.FirstLeaf(s.Path.Rank), Count: len(p.Info.Ends), Of: &p.grads,
	})
	if err != nil {
		return blas32.General{}, err
	}
	if p.Compressed != nil {
		s.Checks.Made(&p.Fault, passcheck.CentroidGradients, there)
	}
	if p.Compressed != nil && p.Hooks.Has(pipeline.BeforeDispatch) {
		there = copied(there)
	}
	if p.Rows, err = s.Compression.RowGradients(p.number, p.Compressed); err != nil {
		return blas32.General{}, err
	}
	if back, err = s.Path.Backward(ctx, &p.Pass, there, dy); err != nil {
		return blas32.General{}, err
	}
	return s.Compression.CompressBackward(ctx, p.Compressed, drows, back)
}
