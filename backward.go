package switchyard

import (
	"cmp"
	"context"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule"
)

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
	p := l.passes.last
	if p == nil {
		return dx, l.guard.Misuse("Backward", "no Forward waits for it")
	}
	if err := p.kept.CheckGradient(dy); err != nil {
		return dx, l.guard.Misuse("Backward", "%w", err)
	}
	defer l.forget()
	l.order.ReleaseInput(&l.passes.dx)
	dx, err = p.backward(ctx, dy)
	l.passes.dx = p.kept.ordered
	return dx, err
}

// backward is forward the other way.
func (l *Layer) backward(ctx context.Context, p *pass, dy blas32.General) error {
	if err := l.gradients.Reduce(ctx); err != nil { // an earlier pass not yet summed
		return err
	}
	defer l.order.ReleaseRows(&p.ordered)
	begin := time.Now()
	dy = p.WithoutPadding(dy)
	l.checks.Gradient(&p.Fault, dy)
	if p.Fault.Found() {
		dy = mat.Zero(mat.Resize(blas32.General{}, dy.Rows, dy.Cols)) // the others count on its rows
	}
	var heard func() error
	if !l.cfg.Wire.Finite {
		heard = l.checks.Share(ctx, "backward", &p.Fault)
	}
	back, err := l.rowsBackward(ctx, p, dy)
	if l.cfg.Wire.Finite && err == nil {
		heard = l.checks.Share(ctx, "backward", &p.Fault)
	}
	if heard != nil {
		err = cmp.Or(err, heard())
	}
	if err != nil {
		l.gradients.Drop()
		return err
	}
	l.micro.turn.Do(func() {
		p.dx = l.order.OrderBackward(&p.ordered, p.Decision, back, p.X.Rows)
		err = l.routing.Backward(&p.Tokens, &p.Result, router.Gradient{
			Weights: p.dweights, Losses: l.gradients.Losses(p.Info.StepTokens), Rows: back, DX: p.dx,
		})
		p.Shared.AddGradientTo(p.dx)
	})
	if err != nil {
		return err
	}
	if l.compression != nil {
		l.compression.EndPass(p.compressed, p.uncompressed())
	}
	l.path.EndPass(schedule.Backward, begin)
	l.gradients.Append(gradients.Pass{
		Tokens: p.Global.Tokens, Leaves: p.Global.Leaves, StepTokens: p.Info.StepTokens,
		Counts: p.Counted,
	})
	return nil
}

// rowsBackward makes the gradients of the tokens' rows of that of y: by way of the experts, which
// enter those of their parameters.
func (l *Layer) rowsBackward(ctx context.Context, p *pass, dy blas32.General) (back blas32.General, err error) {
	var drows blas32.General
	l.micro.turn.Do(func() { drows, p.dweights = l.order.RestoreBackward(&p.ordered, p.Decision, p.answers, dy) })
	l.checks.Made(&p.Fault, passcheck.AnswerGradients, drows)
	there, err := l.compression.RestoreBackward(ctx, p.compressed, drows, compression.Leaves{
		First: p.Global.FirstLeaf(l.world.Rank()), Count: len(p.Info.Ends),
	})
	if err != nil {
		return blas32.General{}, err
	}
	if p.compressed != nil {
		l.checks.Made(&p.Fault, passcheck.CentroidGradients, there)
	}
	if back, err = l.path.Backward(ctx, &p.Pass, there, dy); err != nil {
		return blas32.General{}, err
	}
	return l.compression.CompressBackward(ctx, p.compressed, drows, back)
}
