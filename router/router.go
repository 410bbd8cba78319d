// Package router decides which expert takes which token.
//
// A [Router] is configuration; New builds from it the [Gate] of one layer, with its parameters. A gate routes
// a batch of tokens and returns a [Decision]: plain data, the sparse tokens × experts matrix that every
// router of the field ends in, with the losses and counts beside it. Nothing here knows a network.
package router

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/param"
)

// ExpertID numbers an expert of a layer over all ranks, from 0.
type ExpertID int

// Params is a gate's trainable parameters.
type Params = param.Set

// Shape is what a gate is built for.
type Shape struct {
	// Dim is the number of columns of the tokens.
	Dim int
	// Experts is the number of experts of the layer, over all ranks.
	Experts int
	// Seed fixes the initial parameters, and noise where a router has any.
	Seed uint64
}

// Router is a routing rule before it has parameters: what a user writes into a layer's configuration.
type Router interface {
	// New checks the configuration and builds a gate with initial parameters. All faults are reported at once.
	New(s Shape) (Gate, error)
}

// Gate is a routing rule with its parameters, for one layer on one rank. It is not safe for concurrent use.
type Gate interface {
	// Params returns the trainable parameters, or nil where there are none.
	Params() *Params
	// Route decides for the tokens that are the rows of x. ends cuts them into groups of consecutive tokens,
	// group g being rows [ends[g-1], ends[g]): capacity, drops and losses count within a group. train tells
	// training from evaluation. The decision keeps no reference to x, and is the caller's until he passes
	// it to Backward. NaN or Inf in the scores is an error that names the token.
	Route(x blas32.General, ends []int, train bool) (*Decision, error)
	// Backward adds to g.DX the gradient of the loss with respect to x, and gives the parameters' gradient,
	// a leaf for each group, to Params().Grad. x is the input of the Route call that returned d.
	Backward(d *Decision, x blas32.General, g Gradient) error
}

// Gradient is what a gate's backward pass starts from.
type Gradient struct {
	// Weights is the loss's gradient with respect to each weight of the assignment, in its order.
	Weights []float32
	// LossScale holds, for each group, the gradient of the loss with respect to the group's auxiliary loss: the
	// group's share of the global batch's tokens, times whatever the trainer scales its loss by.
	LossScale []float32
	// FirstLeaf is the number of the first group in the global batch.
	FirstLeaf int
	// DX is tokens × Dim; the gradient is added to it.
	DX blas32.General
}

// Decision is the outcome of routing one batch.
type Decision struct {
	Assignment
	// GroupLoss is each group's sum of auxiliary losses, coefficients applied.
	GroupLoss []float64
	// Losses is the mean over the tokens of each configured loss, by its name, coefficients applied.
	Losses map[string]float64
	// Counts is the number of tokens that chose each expert, before any were dropped.
	Counts []int
	// Dropped is the number of (token, expert) choices that capacity dropped.
	Dropped int

	saved any // what the gate needs again in Backward
}
