package router

import "github.com/switchyard-moe/switchyard/internal/f32"

// ZLoss is the loss that keeps logits small: the mean over the tokens of (ln Σₑ e^logit)². Its name
// is "z". (Zoph et al.
// 2022.)
func ZLoss(coefficient float64) Loss { return Loss{"z", coefficient, zLoss{}} }

type zLoss struct{}

func (zLoss) needs() needs { return needs{logSumExp: true} }

func (zLoss) value(g *lossGroup) float64 {
	s := 0.0
	for _, z := range g.c.logSumExp[g.begin:g.end] {
		s += float64(z * z)
	}
	return s / g.tokens()
}

func (zLoss) shareGrad([]float32, *lossGroup, float64) {}

func (zLoss) tokenGrad(d tokenGrad, g *lossGroup, t int, scale float64) {
	softmax(g.c.row, g.c.logits.row(t))
	f32.Axpy(d.logits, float32(2*scale*g.c.logSumExp[t]/g.tokens()), g.c.row)
}
