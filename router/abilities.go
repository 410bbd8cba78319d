package router

import (
	"math"

	"github.com/switchyard-moe/switchyard/param"
)

// The methods of [Router] and [Gate] are all that a layer needs. What else a router or its gate can
// do it declares by one of these interfaces, for which callers ask with a type assertion:
//
//	of a router: [CausalRouter], [BoundedRouter], [WeightedRouter]
//	of a gate:   [Balancer], [Consulting], [GlobalCounter], [LogitRouter], [LossSplitter],
//	             [Mixer], [Stateful]
//
// A router that wraps others keeps what they can do or returns an error from New: see [Record] and
// [Several].

// CausalRouter is a router that says whether it looks ahead. A router without the method is causal.
type CausalRouter interface {
	Router
	// Causal is false if the experts or weights of a token can depend on later tokens of its batch,
	// so that an evaluation of whole sequences sees the future.
	Causal() bool
}

// IsCausal tells whether the choices for a token never depend on later tokens: see [CausalRouter].
func IsCausal(r Router) bool {
	c, ok := r.(CausalRouter)
	return !ok || c.Causal()
}

// BoundedRouter is a router that knows beforehand how full its experts get.
type BoundedRouter interface {
	Router
	// Bound returns the largest number of tokens that an expert takes of a token group of the given
	// number of tokens, in training or in evaluation; math.MaxInt if there is no bound.
	Bound(tokens, experts int, train bool) int
}

// boundOf is the bound of any router.
func boundOf(r Router, tokens, experts int, train bool) int {
	if b, ok := r.(BoundedRouter); ok {
		return b.Bound(tokens, experts, train)
	}
	return math.MaxInt
}

// WeightedRouter is a router that knows beforehand what the weights of a token sum to.
type WeightedRouter interface {
	Router
	// WeightSum returns the bounds of the sum of a token's weights in a layer with the given number
	// of experts. The lower one holds for tokens of which no expert was dropped.
	WeightSum(experts int) (least, most float64)
}

// weightSumOf is the bounds for any router.
func weightSumOf(r Router, experts int) (least, most float64) {
	if w, ok := r.(WeightedRouter); ok {
		return w.WeightSum(experts)
	}
	return 0, math.Inf(1)
}

// Mixer is a gate whose rows are mixtures of tokens: its decisions have a [Mixture] in place of an
// assignment.
type Mixer interface {
	Gate
	// Slots returns the number of rows that each token group sends to each expert, at least 1. It
	// never changes.
	Slots() int
}

// Stateful is a gate that keeps more from step to step than its parameters and the bias of a
// [Balancer]: a mean of what it has seen, for example. The gates of this package keep nothing more,
// since what else changes in them, noise and schedules, follows [Batch.Step]. A checkpoint saves
// the state and loads it on another number of ranks, so it must be the same on every rank: it
// changes by what all of them know, as in Rebalance or in the rounds of a [Consulting] gate. Where
// several passes run at the same time the rounds of one come between those of another, on each rank
// in its own order, on which the state must not depend.
type Stateful interface {
	Gate
	// State lists the state as tensors, the same ones in the same order at each call: their Name,
	// Shape and Data, the gate's own memory, and their Role, which is param.Training if the tensor
	// is of no use but to go on training. The rest of an entry is the caller's to fill.
	State() []param.Entry
}

// stateOf is the state of any gate.
func stateOf(g Gate) []param.Entry {
	if s, ok := g.(Stateful); ok {
		return s.State()
	}
	return nil
}
