// Package router decides which expert takes which token.
//
// A [Router] is configuration; New builds from it the [Gate] of one layer, with its parameters. A
// gate routes a batch of tokens and returns a [Decision]: plain data, the sparse tokens × experts
// matrix that every router of the field ends in, with the losses and counts beside it. Nothing here
// knows a network.
package router

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
)

// ExpertID numbers an expert of a layer over all ranks, from 0.
type ExpertID int

// Shape is what a gate is built for.
type Shape struct {
	// Dim is the number of columns of the tokens.
	Dim int
	// Experts is the number of experts of the layer, over all ranks.
	Experts int
	// Seed fixes the initial parameters, and noise where a router has any.
	Seed uint64
}

// Router is a routing rule before it has parameters: what a user writes into a layer's
// configuration.
type Router interface {
	// New checks the configuration and builds a gate with initial parameters. All faults are
	// reported at once.
	New(s Shape) (Gate, error)
}

// Gate is a routing rule with its parameters, for one layer on one rank. It is not safe for
// concurrent use.
type Gate interface {
	// Params returns the trainable parameters, or nil where there are none.
	Params() *param.Set
	// Route decides for the tokens that are the rows of x; b says what the rows do not. The
	// decision keeps no reference to x, and is the caller's until he passes it to Backward. NaN or
	// Inf in the scores is an error that gives the token's row in x, in any words.
	Route(x blas32.General, b Batch) (*Decision, error)
	// Backward adds to g.DX the gradient of the loss with respect to x, and gives the parameters'
	// gradient, a leaf for each token group, to Params().Grad. x is the input of the Route call that
	// returned d.
	Backward(d *Decision, x blas32.General, g Gradient) error
}

// LossSplitter is a gate that can keep the gradient of its auxiliary losses apart from that of the
// weights, so that a trainer who learns only at the end of a step how many tokens it has had can
// weigh the losses by them. All of this package's gates with losses are such.
type LossSplitter interface {
	Gate
	// LossParams returns a set with the tensors of the gate's parameters, for [Gradient].Losses.
	// Its values mean nothing. It is nil where the gate has no losses, or no parameters.
	LossParams() *param.Set
}

// Batch is what a gate is told of the tokens it routes, beside their rows. Only Ends must be set.
type Batch struct {
	// Ends cuts the tokens into groups of consecutive rows, group g being rows [Ends[g-1],
	// Ends[g]). Capacity, drops, noise and losses count within a group, so that what a group gets
	// does not depend on the ranks.
	Ends []int
	// Train tells training from evaluation, in which there is no noise.
	Train bool
	// Step is the number of optimiser steps before this batch, the same on all ranks: noise and
	// schedules go by it.
	Step int
	// Micro is the number that the caller gives this batch among those of its step, from 0, the
	// same on all ranks: the number of the micro-batch in training, that of the batch in an
	// evaluation. [Record] and [Replay] know a batch by it, with Step and Train; others leave it
	// alone. A pass that is run again keeps its number.
	Micro int
	// StepTokens is the number of tokens, padding left out, in all batches of this one's optimiser
	// step, over all ranks; 0 where the caller does not know. A layer weighs auxiliary losses by
	// it; gates leave it alone.
	StepTokens int
	// Padding marks the tokens that are none: they get no expert, take no capacity, and stand in no
	// count and no loss. What their rows of x and Features, their IDs and their Modality hold
	// changes nothing: a layer puts zeros there before it calls a gate, and the gates of this
	// package need none. Nil marks none of them.
	Padding []bool
	// Sequences cuts the tokens into sequences of consecutive rows, as Ends into token groups, padding
	// included, for [SequenceBalance]. Nil where there is no need to say. One that goes on in the
	// next group counts as two, since losses count within a group.
	Sequences []int
	// Modality holds the kind of each token (text, image), from 0, for gates that keep experts for
	// each kind; others leave it alone.
	Modality []int32
	// IDs holds the number of each token in its vocabulary, for gates that route by it; others
	// leave it alone.
	IDs []int32
	// Features has a row a token, for gates that look at them in place of the token; others leave
	// it alone. The gate reads it again in Backward.
	Features blas32.General
	// Gate says which of several gates decides, the same on all ranks: see [Several]. Others leave
	// it alone.
	Gate int
}

// Gradient is what a gate's backward pass starts from.
type Gradient struct {
	// Weights is the loss's gradient with respect to each weight of the assignment, in its order.
	Weights []float32
	// LossScale holds, for each token group, the gradient of the loss with respect to the group's
	// auxiliary loss: the group's share of the global batch's tokens, times whatever the trainer
	// scales its loss by.
	LossScale []float32
	// Losses, where it is not nil, takes in its Grad what comes of LossScale of the gradient of the
	// parameters, a leaf for each token group, which Params().Grad then is without. It is for a
	// [LossSplitter], and what its LossParams has returned.
	Losses *param.Set
	// Rows is the loss's gradient with respect to the rows that [Decision.Order] made. Gates whose
	// rows are mixtures of tokens read it, and it stays as it is until Backward returns; others
	// leave it alone.
	Rows blas32.General
	// FirstLeaf is the number of the first token group in the global batch.
	FirstLeaf int
	// DX is tokens × Dim; the gradient is added to it.
	DX blas32.General
}

// Decision is the outcome of routing one batch.
type Decision struct {
	Assignment
	// Mixture, where there is one, takes the place of the assignment, which then has no entries:
	// the experts' rows are mixtures of tokens.
	Mixture *Mixture
	// GroupLoss is each token group's sum of auxiliary losses, coefficients applied.
	GroupLoss []float64
	// Losses is the mean over the tokens of each configured loss, by its name, coefficients applied.
	Losses map[string]float64
	// Counts is the number of tokens that chose each expert, before any were dropped.
	Counts []int
	// GroupCapacity is the most of each token group's tokens that an expert takes; math.MaxInt where
	// there is no bound.
	GroupCapacity []int
	// Dropped is the number of (token, expert) choices that capacity dropped.
	Dropped int

	// Saved is what the gate needs again in Backward. It belongs to the gate: nobody else reads or
	// changes it.
	Saved any
}
