package switchyard

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/router"
)

// newPass begins a pass over x. side is what the caller says of the tokens; the layer adds what it knows.
func (l *Layer) newPass(op string, x blas32.General, side router.Batch, train bool) (*pass, error) {
	if err := l.checkBatch(op, x, side); err != nil {
		return nil, err
	}
	if x.Rows == 0 {
		x = blas32.General{Cols: l.cfg.Dim, Stride: l.cfg.Dim}
	}
	p := &pass{x: x, ends: groupEnds(x.Rows, l.cfg.Group), side: side}
	p.side.Ends, p.side.Train, p.side.Step = p.ends, train, l.steps
	p.real = x.Rows
	for _, padding := range side.Padding {
		if padding {
			p.real--
		}
	}
	p.clean(l)
	p.sample = sampleOf(p.x)
	return p, nil
}

// checkBatch returns what is wrong with a batch, before anything is made for it.
func (l *Layer) checkBatch(op string, x blas32.General, side router.Batch) error {
	if err := check.Matrix(x, l.cfg.Dim); err != nil {
		return l.misuse(op, "x has %w", err)
	}
	if err := check.AnyMatrix(side.Features); err != nil {
		return l.misuse(op, "Features has %w", err)
	}
	if min(side.Micro, side.StepTokens) < 0 {
		return l.misuse(op, "Micro is %d and StepTokens %d, must not be negative", side.Micro, side.StepTokens)
	}
	for _, of := range []struct {
		what string
		n    int
	}{
		{"marks of padding", len(side.Padding)}, {"modalities", len(side.Modality)},
		{"token numbers", len(side.IDs)}, {"rows of features", side.Features.Rows},
	} {
		if of.n != 0 && of.n != x.Rows {
			return l.misuse(op, "%d %s for %d tokens", of.n, of.what, x.Rows)
		}
	}
	if groups := groupsOf(x.Rows, l.cfg.Group); groups > alltoall.MaxCounts/l.cfg.Experts {
		return l.misuse(op, "%d tokens in %d groups for %d experts: groups × experts must be at most %d (alltoall.MaxCounts); a larger Config.Group makes fewer",
			x.Rows, groups, l.cfg.Experts, alltoall.MaxCounts)
	}
	return nil
}

// padded tells whether token t is padding.
func (p *pass) padded(t int) bool { return len(p.side.Padding) != 0 && p.side.Padding[t] }
