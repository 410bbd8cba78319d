// Package expert defines what an expert computes, forward and backward, how its parameters are
// initialised, and the optimizers that train them. It knows no network: its input is the rows of
// the experts of one rank.
package expert

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
)

// Shape describes the experts of one rank to [Expert.New].
type Shape struct {
	// Dim is the number of columns of the input and output rows.
	Dim int
	// First is the number of the first expert in the layer, and Count how many follow from it; it
	// may be 0.
	First, Count int
	// Seed fixes the initial parameters; those of an expert depend on Seed and its number alone.
	Seed uint64
}

// Expert is a kind of expert before it has parameters: what a user writes into a layer's
// configuration.
type Expert interface {
	// New checks the configuration and builds the experts of one rank. All faults are reported at
	// once.
	New(s Shape) (Group, error)
}

// Group is the experts of one layer on one rank. It is not safe for concurrent use. What an expert
// computes depends on its rows and its parameters alone, and not on its number: a layer that shares
// experts out has a group of one compute for each of them in turn.
type Group interface {
	// Params returns the trainable parameters, the same set at each call, or nil if there are none.
	// The first dimension of each tensor is the expert. The group reads Value anew at each call.
	Params() *param.Set
	// Forward computes each expert's answer to its rows of x, as many rows of as many columns. The
	// row of an answer depends on its input row alone, bit for bit. The result belongs to saved and
	// is valid until saved is passed to Backward. x must stay as it is until then.
	Forward(x blas32.General, rows Rows) (y blas32.General, saved Saved)
	// Backward takes the loss's gradient with respect to the answers, returns the one with respect
	// to the rows of x, and gives each leaf's gradient of the parameters to Params().Grad. dy must
	// stay as it is until Backward returns; the result is valid until the next call on the group.
	// It consumes saved, which must not be used again. Several passes may be in flight, and their
	// Backward comes in any order; between two resets of Params().Grad each leaf comes once. If the
	// set is frozen it enters no leaf ([param.Set.Frozen]).
	Backward(saved Saved, dy blas32.General) (dx blas32.General)
}

// SplitBackward is a [Group] whose backward pass can be split in two, as all groups of this
// package: a layer then computes the gradient of the parameters while that of the rows is on its
// way to other ranks (Qi et al. 2024, Zero Bubble Pipeline Parallelism: B and W). Both halves
// together have the bits of Backward.
type SplitBackward interface {
	Group
	// BackwardInput is the half of Backward that returns the gradient with respect to the rows. dy,
	// and the x of Forward, must stay as they are until BackwardWeights returns; the result is
	// valid until the next call of BackwardInput or Backward on the group.
	BackwardInput(saved Saved, dy blas32.General) (dx blas32.General)
	// BackwardWeights is the other half, which gives each leaf's gradient of the parameters to
	// Params().Grad, unless the set is frozen, and consumes saved. Other passes may come between the
	// two.
	BackwardWeights(saved Saved)
}

// RowGradients is a [Group] that can take gradients of answers to other rows than its forward pass
// had, as all groups of this package. A layer whose rows go to their experts as clusters sends the
// gradients of all rows, each of which is multiplied by the Jacobian at its centroid.
type RowGradients interface {
	Group
	// RowGradients sets row i of dx to row i of dy times the transposed Jacobian of the expert at row
	// of[i] of the forward pass: if of counts the rows of that pass, to what Backward returns, bit for
	// bit. A row of the pass may come any number of times in of, which is sorted by expert, and in any
	// order within an expert. dx may be dy. It is called between Forward and the backward pass, of
	// which it changes nothing, enters no gradient of parameters, and keeps nothing.
	RowGradients(saved Saved, of []int32, dy, dx blas32.General)
}

// Holder is a [Group] that can hold what the passes in flight have in memory of each, as all groups
// of this package can. A layer then sends gradients of rows from where they stand; those of another
// group it copies, since the next call on it may be for another pass.
type Holder interface {
	Group
	// Hold has what Forward, Backward and BackwardInput return for a pass stay valid until Release,
	// whatever else is called on the group. It is called after Forward.
	Hold(saved Saved)
	// Release ends a pass that is held, whether it has gone back or not: its memory is for later
	// passes, and saved must not be used again.
	Release(saved Saved)
}

// Saved is what a forward pass keeps for its backward pass.
type Saved any

// Rows says which expert and which leaf each row of a matrix belongs to. Rows are sorted by expert,
// then by leaf. A leaf is a token group of the global batch. The gradient of each leaf is summed
// separately, so that replicas of the experts can add theirs in the same order for any number of
// ranks.
type Rows struct {
	// Experts is the number of experts, as Shape.Count.
	Experts int
	// FirstLeaf is the number in the global batch of the first leaf, and Leaves their count.
	FirstLeaf, Leaves int
	// Ends holds Experts × Leaves row numbers: the rows of expert e in leaf l end at
	// Ends[e*Leaves+l]. They begin where the previous ones end.
	Ends []int
}

// Of returns the half-open range of all rows of expert e.
func (r Rows) Of(e int) (begin, end int) {
	if r.Leaves == 0 {
		return 0, 0
	}
	if e > 0 {
		begin = r.Ends[e*r.Leaves-1]
	}
	return begin, r.Ends[(e+1)*r.Leaves-1]
}

// Leaf returns the half-open range of the rows of expert e in the l-th leaf.
func (r Rows) Leaf(e, l int) (begin, end int) {
	i := e*r.Leaves + l
	if i > 0 {
		begin = r.Ends[i-1]
	}
	return begin, r.Ends[i]
}
