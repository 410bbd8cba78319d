package switchyard

import (
	"context"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/schedule"
)

// The steps between the order of tokens and that of experts. A mixture's are products of matrices,
// and the decision's own. An assignment's are done here with the bits of [router.Decision], but as
// the memory likes it: rows leave from where the tokens stand, and a token's answers are added up
// at once.

// begin begins the dispatch of the tokens' rows to their experts.
func (l *Layer) begin(ctx context.Context, p *pass) (*alltoall.Handle, error) {
	parts := l.parts(p, schedule.Forward)
	if l.compresses(p) {
		return l.beginCompressed(ctx, p, parts)
	}
	if d := p.Decision; d.Mixture == nil {
		token := d.Token
		if token == nil {
			token = []int32{}
		}
		return l.beginParts(ctx, p.counts(), p.X, token, parts)
	}
	mixed := l.packed(p.Decision.NumRows())
	p.Decision.Order(mixed, p.X)
	l.checks.Made(&p.fault, "forward", "the mixtures of its tokens", mixed)
	return l.beginParts(ctx, p.counts(), mixed, nil, parts)
}

// beginParts begins a dispatch in parts, cut as the layer cuts them.
func (l *Layer) beginParts(ctx context.Context, c alltoall.Counts, rows blas32.General, token []int32, parts int) (*alltoall.Handle, error) {
	if l.byPeers {
		return l.exchange.BeginByPeers(ctx, c, rows, token, parts)
	}
	return l.exchange.Begin(ctx, c, rows, token, parts)
}

// restore makes y of the answers, and of byToken which rows are each token's.
func (p *pass) restore(y blas32.General, byToken *rows.Index) {
	d := p.Decision
	if d.Mixture != nil {
		d.Restore(y, p.answers)
		return
	}
	byToken.Set(p.X.Rows, d.Token)
	rows.Sum(y, p.answers, byToken, d.Weight)
}

// restoreBackward makes the gradients of the answers, drows, and of their weights from that of y.
func (l *Layer) restoreBackward(p *pass, drows, dy blas32.General) {
	d := p.Decision
	if d.Mixture != nil {
		d.RestoreBackward(drows, l.weights, p.answers, dy)
		return
	}
	rows.SumBackward(drows, l.weights, p.answers, dy, d.Token, d.Weight)
}

// orderBackward makes dx of the gradients of the tokens' rows.
func (l *Layer) orderBackward(p *pass, back blas32.General) {
	if p.Decision.Mixture != nil {
		p.Decision.OrderBackward(mat.Zero(l.dx), back)
		return
	}
	rows.Sum(l.dx, back, &l.byToken, nil)
}
