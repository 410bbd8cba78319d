package router

import (
	"errors"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/param"
)

// Scope says among which tokens an expert chooses.
type Scope int

const (
	// EachGroup makes every expert choose in each group of tokens apart.
	EachGroup Scope = iota
	// WholeBatch makes every expert choose among the tokens of all ranks: see [ExpertChoice].
	WholeBatch

	scopes int = iota
)

// String returns the scope's name.
func (s Scope) String() string {
	switch s {
	case EachGroup:
		return "each group"
	case WholeBatch:
		return "whole batch"
	}
	return fmt.Sprintf("Scope(%d)", int(s))
}

// DefaultExpertChoice is the capacity factor of the paper: the mean number of experts that take a
// token.
const DefaultExpertChoice = 2

// ExpertChoice lets the experts choose: each takes the k tokens with the best scores for it, k =
// n·c/E rounded to the nearest (halves away from zero) of n tokens, c the capacity factor, E the
// experts. Of equal scores the first token's counts as better. A token's weight for an expert is
// its score. Loads are equal by construction, so there is no balance loss; a token may go to many
// experts, or to none and get zeros. (Zhou et al. 2022; the sigmoid form as in MoMa; flaxformer's
// experts_choose.)
//
// It sees the future. Whether an expert takes a token depends on the tokens that it could have
// taken instead, later ones included: in a model that predicts the next token this leaks what is to
// be predicted, in training, and cannot be repeated in generation, where later tokens do not exist.
// It is for encoders, and for decoders with care; [Modality]'s auxiliary routers are a way around
// it.
//
// With [EachGroup] nothing is sent. With [WholeBatch] the tokens are those of all ranks, and the
// choice is the one that a single rank with all tokens would make, exactly. The ranks find each
// expert's last key by radix selection with summed histograms: ten rounds, in which a rank sends
// each of the others
//
//	8 + 8 + 512·E bytes, and 8·R·M if M experts must break a tie over R ranks,
//
// however many tokens there are: as much as the scores of 128 of them. Gathering all scores would
// take 4·E for each token.
type ExpertChoice struct {
	// CapacityFactor is the mean number of experts that take a token; 0 stands for
	// [DefaultExpertChoice].
	CapacityFactor float64
	// MinCapacity is the least number of tokens that an expert takes of a token group that has that
	// many: the capacity of a small group would round to 0 otherwise.
	MinCapacity int
	// Score is [Sigmoid], or the softmax over all experts for the zero value and [SoftmaxBefore].
	Score Score
	// Over says among which tokens an expert chooses.
	Over Scope
	// Cap, if it is not 0, is the most experts that take a token: see the comment of capped in
	// capped.go. It goes with [EachGroup], and must be at least CapacityFactor.
	Cap int
	// Entropy is λ of the capped choice; 0 stands for 0.001.
	Entropy float64
}

var _ Router = ExpertChoice{}

// Causal returns false: which tokens an expert takes depends on later ones.
func (r ExpertChoice) Causal() bool { return false }

// New is described at [Router]. The parameters are one tensor, "gate", Dim × Experts, drawn
// uniformly from ±1/√Dim.
func (r ExpertChoice) New(s Shape) (Gate, error) {
	if err := errors.Join(append(checkShape(s), r.faults()...)...); err != nil {
		return nil, err
	}
	g := &expertChoice{
		set:     param.NewSet(param.Tensor{Name: "gate", Shape: []int{s.Dim, s.Experts}}),
		columns: []columns{{0, s.Experts}},
		class:   make([]int32, s.Experts), classes: 1,
		sigmoid: r.Score == Sigmoid,
		over:    r.Over,
		quota:   func(_ int, tokens int64) int64 { return r.quota(tokens, s.Experts) },
		dim:     s.Dim, experts: s.Experts,
	}
	if r.Cap != 0 {
		g.capped = &capped{most: r.Cap, lambda: orDefault(r.Entropy, defaultEntropy)}
	}
	drawUniform(g.set, 0, s.Dim, s.Seed, 0x6a7e)
	return g.asGate(), nil
}

// Bound returns the number of tokens, of a token group of that many, that each of the experts
// takes.
func (r ExpertChoice) Bound(tokens, experts int, _ bool) int {
	return int(r.quota(int64(tokens), experts))
}

func (r ExpertChoice) quota(tokens int64, experts int) int64 {
	k := math.Round(float64(tokens) * orDefault(r.CapacityFactor, DefaultExpertChoice) / float64(experts))
	return min(max(int64(min(k, math.MaxInt32)), int64(r.MinCapacity)), tokens)
}

// faults returns all that is wrong with r.
func (r ExpertChoice) faults() []error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf("router: ExpertChoice: "+format, args...))
		}
	}
	factor := orDefault(r.CapacityFactor, DefaultExpertChoice)
	fault(!(factor > 0) || math.IsInf(factor, 1), "capacity factor is %v, want a finite number above 0", r.CapacityFactor)
	fault(r.MinCapacity < 0, "MinCapacity is %d, must not be negative", r.MinCapacity)
	fault(r.Score != SoftmaxAfter && r.Score != SoftmaxBefore && r.Score != Sigmoid, "score is %v, want softmax or sigmoid", r.Score)
	fault(r.Over < 0 || int(r.Over) >= scopes, "unknown scope %d", int(r.Over))
	fault(r.Cap < 0, "Cap is %d, must not be negative", r.Cap)
	fault(r.Cap > 0 && float64(r.Cap) < factor, "Cap is %d, less than the capacity factor %v: the experts could not be filled", r.Cap, factor)
	fault(r.Cap > 0 && r.Over != EachGroup, "Cap goes with the scope %v: its projections add up scores of all tokens, a hundred times", EachGroup)
	fault(!(r.Entropy >= 0) || math.IsInf(r.Entropy, 1), "Entropy is %v, want a finite number from 0", r.Entropy)
	fault(r.Entropy > 0 && r.Cap == 0, "Entropy goes with Cap")
	return faults
}

func orDefault(v, otherwise float64) float64 {
	if v == 0 {
		return otherwise
	}
	return v
}
