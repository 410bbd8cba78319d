package router

import (
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Loss is an auxiliary loss that a gate adds to the trainer's. It is computed within each group of tokens, over their
// choices before drops, and reported with its coefficient applied: by group in [Decision.GroupLoss], and as
// the mean over the tokens in [Decision.Losses] under its name. The zero Loss is not valid.
type Loss struct {
	name        string
	coefficient float64
	term        lossTerm
}

// Balance is the loss that evens the experts' loads: E/(k·T²) · Σₑ nₑ·Pₑ for T tokens that choose k of E experts, nₑ
// the number of those that chose expert e, Pₑ the sum of their scores for it. Scores are the softmax
// over all experts, or with [Sigmoid] the sigmoids divided by their sum. It is 1 where the load is even,
// and its gradient holds the counts constant. Its name is "balance". (Fedus et al. 2021 for k = 1; Megatron
// and DeepSpeed for any k.)
func Balance(coefficient float64) Loss { return Loss{"balance", coefficient, balance{}} }

// ZLoss is the loss that keeps logits small: the mean over the tokens of (ln Σₑ e^logit)². Its name is "z". (Zoph et al.
// 2022.)
func ZLoss(coefficient float64) Loss { return Loss{"z", coefficient, zLoss{}} }

// Name returns the key of the loss in [Decision.Losses].
func (l Loss) Name() string { return l.name }

// Coefficient returns the factor of the loss.
func (l Loss) Coefficient() float64 { return l.coefficient }

// lossTerm is what a [Loss] computes. A loss sees a group only once it has tokens.
type lossTerm interface {
	// needs tells which of shares and logSumExp the loss reads.
	needs() (shares, logSumExp bool)
	// value is the group's loss, without coefficient.
	value(g *lossGroup) float64
	// shareGrad adds scale times the loss's gradient with respect to a token's shares to d. It is the same for all
	// tokens of the group, because these losses are functions of the sum.
	shareGrad(d []float32, g *lossGroup, scale float64)
	// logitGrad adds scale times the part of the gradient that reaches the logits of token t past the shares.
	logitGrad(d []float32, g *lossGroup, t int, scale float64)
}

// lossGroup is what losses see of one group of tokens. A token's shares are its scores for all experts, divided by
// their sum.
type lossGroup struct {
	begin, end int
	k          int
	counts     []int     // choices of each expert before drops
	shares     []float64 // sum of the shares over the tokens
	logits     *grid
	logSumExp  []float64 // of each token of the batch
	scratch    []float32 // of one element an expert
}

func (g *lossGroup) tokens() float64 { return float64(g.end - g.begin) }

type balance struct{}

func (balance) needs() (shares, logSumExp bool) { return true, false }

// factor is E/(k·T²).
func (balance) factor(g *lossGroup) float64 {
	return float64(len(g.counts)) / (float64(g.k) * g.tokens() * g.tokens())
}

func (b balance) value(g *lossGroup) float64 {
	s := 0.0
	for e, n := range g.counts {
		s += float64(float64(n) * g.shares[e])
	}
	return b.factor(g) * s
}

func (b balance) shareGrad(d []float32, g *lossGroup, scale float64) {
	f := scale * b.factor(g)
	for e, n := range g.counts {
		d[e] += float32(f * float64(n))
	}
}

func (balance) logitGrad([]float32, *lossGroup, int, float64) {}

type zLoss struct{}

func (zLoss) needs() (shares, logSumExp bool) { return false, true }

func (zLoss) value(g *lossGroup) float64 {
	s := 0.0
	for _, z := range g.logSumExp[g.begin:g.end] {
		s += float64(z * z)
	}
	return s / g.tokens()
}

func (zLoss) shareGrad([]float32, *lossGroup, float64) {}

func (zLoss) logitGrad(d []float32, g *lossGroup, t int, scale float64) {
	softmax(g.scratch, g.logits.row(t))
	f32.Axpy(d, float32(2*scale*g.logSumExp[t]/g.tokens()), g.scratch)
}

// checkLosses returns what is wrong with a list of losses.
func checkLosses(losses []Loss) (faults []error) {
	seen := map[string]bool{}
	for i, l := range losses {
		switch {
		case l.term == nil:
			faults = append(faults, fmt.Errorf("router: loss %d is the zero Loss", i))
		case !(l.coefficient >= 0) || math.IsInf(l.coefficient, 1):
			faults = append(faults, fmt.Errorf("router: loss %q has coefficient %v, want a finite number from 0", l.name, l.coefficient))
		case seen[l.name]:
			faults = append(faults, fmt.Errorf("router: loss %q stands twice", l.name))
		}
		seen[l.name] = true
	}
	return faults
}
