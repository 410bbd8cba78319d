package dispatch

import (
	"context"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/internal/rows"
)

// CombineBackward takes dy, the loss's gradient with respect to y, a row for each token, and
// returns the one with respect to the answers, in the order of Rows, and the one with respect to
// the weights, in the places of Dispatch's weights: 0 where an index names no expert. dy is read
// until it returns, but for tokens without experts.
func (p *Pass) CombineBackward(ctx context.Context, dy blas32.General) (
	danswers blas32.General, dweights []float32, err error,
) {
	err = p.call(ctx, "CombineBackward", combined, func() error {
		return checkShape("dy", dy, p.tokens, p.d.cfg.Dim)
	}, func() error {
		p.d.checks.Gradient(&p.fault, p.read(dy))
		p.leaving = mat.Resize(p.leaving, len(p.token), p.d.cfg.Dim)
		p.dentry = mat.Reuse(p.dentry, len(p.token))
		rows.SumBackward(p.leaving, p.dentry, p.answers, dy, p.token, p.weight)
		if p.d.cfg.Wire.Finite {
			p.d.checks.Made(&p.fault, passcheck.AnswerGradients, p.leaving)
		}
		leaving, err := p.d.compression.RestoreBackward(ctx, p.compressed, p.leaving, compression.Leaves{})
		if err != nil {
			return err
		}
		err = p.share(ctx, "backward", func() (err error) {
			if danswers, err = p.handle.DispatchBack(ctx, 0, leaving); err == nil {
				p.d.checks.Arrived(&p.fault, passcheck.ExpertGradients, danswers, p.sender)
			}
			return err
		})
		dweights = p.scatterWeights()
		return err
	})
	if err != nil {
		return blas32.General{}, nil, err
	}
	return danswers, dweights, nil
}

// scatterWeights puts the gradients of the entries' weights where the caller had those.
func (p *Pass) scatterWeights() []float32 {
	p.dweight = mat.Reuse(p.dweight, p.slots)
	clear(p.dweight)
	for i, slot := range p.slot {
		p.dweight[slot] = p.dentry[i]
	}
	return p.dweight
}

// DispatchBackward takes the loss's gradient with respect to Rows, in their order, and returns the
// one with respect to x: for each token the sum over its experts, from zero in ascending order of
// those. drows are read until it returns.
func (p *Pass) DispatchBackward(ctx context.Context, drows blas32.General) (dx blas32.General, err error) {
	err = p.call(ctx, "DispatchBackward", combinedBack, func() error {
		return checkShape("drows", drows, p.rows.Rows, p.d.cfg.Dim)
	}, func() error {
		back, err := p.home(ctx, leg{"backward", passcheck.RowGradients, passcheck.ReturnedGradients}, drows)
		if err != nil {
			return err
		}
		if back, err = p.d.compression.CompressBackward(ctx, p.compressed, p.leaving, back); err != nil {
			return err
		}
		p.d.compression.EndPass(p.state.Number(), p.compressed, compression.Rows{})
		p.dx = mat.Resize(p.dx, p.tokens, p.d.cfg.Dim)
		rows.Sum(p.dx, back, &p.index, nil)
		dx = p.dx
		return nil
	})
	return dx, err
}
