package router

import (
	"fmt"
)

// Loss is an auxiliary loss that a gate adds to the trainer's. It is computed within each group of
// tokens, over their choices before drops and without padding, and reported with its coefficient
// applied: by group in [Decision.GroupLoss], and as the mean over the tokens in [Decision.Losses]
// under its name. A gate may have several, each once. The zero Loss is not valid.
type Loss struct {
	name        string
	coefficient float64
	term        lossTerm
}

// Name returns the key of the loss in [Decision.Losses].
func (l Loss) Name() string { return l.name }

// Coefficient returns the factor of the loss.
func (l Loss) Coefficient() float64 { return l.coefficient }

// lossTerm is what a [Loss] computes. A loss sees a token group only once it has tokens.
type lossTerm interface {
	needs() needs
	// value is the token group's loss, without coefficient.
	value(g *lossGroup) float64
	// shareGrad adds scale times the loss's gradient with respect to a token's shares to d, where
	// it is the same for all tokens of the token group.
	shareGrad(d []float32, g *lossGroup, scale float64)
	// tokenGrad adds scale times the rest of the gradient, for token t.
	tokenGrad(d tokenGrad, g *lossGroup, t int, scale float64)
}

// needs says what a loss reads besides the counts.
type needs struct {
	shares, logSumExp bool
	weights           bool // the sums of the weights
	tokenShares       bool // whether tokenGrad writes to shares
	noise             bool // what only a gate with learned noise has
	global            bool // the global batch's counts
	sequences         bool // where they end
}

func (n needs) or(m needs) needs {
	return needs{
		n.shares || m.shares, n.logSumExp || m.logSumExp, n.weights || m.weights,
		n.tokenShares || m.tokenShares, n.noise || m.noise, n.global || m.global, n.sequences || m.sequences,
	}
}

// tokenGrad collects the gradients with respect to one token's shares (if a loss needs
// tokenShares), logits, and weights before drops.
type tokenGrad struct{ shares, logits, weights []float32 }

// lossGroup is what losses see of one group of tokens. A token's shares are its scores for all
// experts, divided by their sum.
type lossGroup struct {
	group      int
	begin, end int
	k          int
	counts     []int     // choices of each expert before drops
	firsts     []int     // first choices of each expert before drops
	shares     []float64 // sum of the shares over the tokens
	weights    []float64 // sum of the weights before drops over the tokens
	c          *choices
}

func (g *lossGroup) tokens() float64 { return float64(g.end - g.begin) }

func (g *lossGroup) experts() float64 { return float64(len(g.counts)) }

// maxCoefficient is the largest coefficient of a loss: gradients, which are float32, must be able
// to hold it many times over.
const maxCoefficient = 1e12

// checkLosses returns what is wrong with a list of losses.
func checkLosses(losses []Loss) (faults []error) {
	seen := map[string]bool{}
	for i, l := range losses {
		switch {
		case l.term == nil:
			faults = append(faults, fmt.Errorf("router: loss %d is the zero Loss", i))
		case !(l.coefficient >= 0 && l.coefficient <= maxCoefficient):
			faults = append(faults, fmt.Errorf("router: loss %q has coefficient %v, want 0 to %v", l.name, l.coefficient, maxCoefficient))
		case seen[l.name]:
			faults = append(faults, fmt.Errorf("router: loss %q stands twice", l.name))
		}
		seen[l.name] = true
	}
	return faults
}
