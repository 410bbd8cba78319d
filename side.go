package switchyard

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// newPass begins a pass over x. side is what the caller says of the tokens; the layer adds what it knows.
func (l *Layer) newPass(x blas32.General, side router.Batch, train bool) *pass {
	l.check("Forward", x)
	checkSide(x.Rows, "marks of padding", len(side.Padding))
	checkSide(x.Rows, "modalities", len(side.Modality))
	checkSide(x.Rows, "token numbers", len(side.IDs))
	checkSide(x.Rows, "rows of features", side.Features.Rows)
	p := &pass{x: x, ends: groupEnds(x.Rows, l.cfg.Group), side: side}
	p.side.Ends, p.side.Train, p.side.Step = p.ends, train, l.steps
	p.real = x.Rows
	for _, padding := range side.Padding {
		if padding {
			p.real--
		}
	}
	p.clean(l)
	return p
}

// checkSide panics unless there is none of something, or one a token.
func checkSide(tokens int, what string, n int) {
	if n != 0 && n != tokens {
		panic(fmt.Sprintf("switchyard: Forward: %d %s for %d tokens", n, what, tokens))
	}
}

// padded tells whether token t is padding.
func (p *pass) padded(t int) bool { return len(p.side.Padding) != 0 && p.side.Padding[t] }

// lossScale is each group's share of the tokens of as many global batches as make a step, padding left out of both.
func (p *pass) lossScale(batches int) []float32 {
	scale, total, begin := make([]float32, len(p.ends)), float32(sum(p.batch.tokens)*max(batches, 1)), 0
	for g, end := range p.ends {
		n := 0
		for t := begin; t < end; t++ {
			if !p.padded(t) {
				n++
			}
		}
		if n > 0 {
			scale[g] = float32(n) / total
		}
		begin = end
	}
	return scale
}
