// Package router decides which expert takes which token.
//
// A [Router] is configuration; New builds from it the [Gate] of one layer, with its parameters. A
// gate routes a batch of tokens and returns a [Decision]: plain data, a sparse tokens × experts
// matrix with the losses and counts. Nothing here knows a network. What else a router or a gate may
// be able to do has an interface each: [CausalRouter], [BoundedRouter] and [WeightedRouter];
// [Balancer], [Consulting], [GlobalCounter], [LogitRouter], [LossSplitter], [Mixer] and [Stateful].
package router

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
)

// ExpertID numbers an expert of a layer over all ranks, from 0.
type ExpertID int

// Shape describes a layer to [Router.New].
type Shape struct {
	// Dim is the number of columns of the tokens.
	Dim int
	// Experts is the number of experts of the layer, over all ranks.
	Experts int
	// Seed fixes the initial parameters, and the noise of routers with noise.
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
	// Params returns the trainable parameters, the same set at each call, or nil if there are none.
	// The gate reads Value anew at each call.
	Params() *param.Set
	// Route decides for the tokens, the rows of x; b has what else is known of them. The decision
	// keeps no reference to x, and belongs to the caller until it is passed to Backward. NaN or Inf
	// in the scores is an error that gives the token's row in x, in any words.
	Route(x blas32.General, b Batch) (*Decision, error)
	// Backward adds to g.DX the gradient of the loss with respect to x, and gives the parameters'
	// gradient, a leaf for each token group, to Params().Grad, unless the set is frozen
	// ([param.Set.Frozen]). x is the input of the Route call that returned d.
	Backward(d *Decision, x blas32.General, g Gradient) error
}

// LossSplitter is a gate that can keep the gradient of its auxiliary losses separate from that of
// the weights, so that a trainer that knows the number of tokens of a step only at its end can
// weigh the losses by it. All gates of this package with losses can.
type LossSplitter interface {
	Gate
	// LossParams returns a set with the tensors of the gate's parameters, for [Gradient].Losses.
	// Its values mean nothing. It is nil if the gate has no losses or no parameters.
	LossParams() *param.Set
}

// Batch describes the tokens that a gate routes, besides their rows. Only Ends must be set.
type Batch struct {
	// Ends divides the tokens into token groups of consecutive rows; group g is rows [Ends[g-1],
	// Ends[g]). Capacity, drops, noise and losses count within a group, so that a group's decision
	// does not depend on the number of ranks.
	Ends []int
	// Train is true in training and false in evaluation, in which there is no noise.
	Train bool
	// Step is the number of optimizer steps before this batch, the same on all ranks. Noise and
	// schedules depend on it.
	Step int
	// Micro is the number that the caller gives this batch among those of its step, from 0, the
	// same on all ranks: the number of the micro-batch in training, that of the batch in an
	// evaluation. [Record] and [Replay] identify a batch by it, Step and Train; others ignore it. A
	// pass that is run again keeps its number.
	Micro int
	// StepTokens is the number of tokens, padding left out, in all batches of this one's optimizer
	// step, over all ranks; 0 if it is not known. A layer weighs auxiliary losses by it; gates
	// ignore it.
	StepTokens int
	// Padding marks the rows that are no tokens: they get no expert, take no capacity, and are in no
	// count and no loss. The contents of their rows of x and Features, their IDs and their Modality
	// change nothing: a layer puts zeros there before it calls a gate, and the gates of this package
	// do not need them. Nil marks no row.
	Padding []bool
	// Sequences cuts the tokens into sequences of consecutive rows, as Ends into token groups, padding
	// included, for [SequenceBalance]. Nil if there is no need to say. One that goes on in the
	// next group counts as two, since losses count within a group.
	Sequences []int
	// Modality holds the kind of each token (text, image), from 0, for gates that have experts for
	// each kind; others ignore it.
	Modality []int32
	// IDs holds the number of each token in its vocabulary, for gates that route by it; others
	// ignore it.
	IDs []int32
	// Features has a row for each token, for gates that read it instead of the token; others ignore
	// it. The gate reads it again in Backward.
	Features blas32.General
	// Gate is the number of the gate that decides, the same on all ranks: see [Several]. Others
	// ignore it.
	Gate int
}

// Gradient is the input of a gate's backward pass, and where it puts the gradient of the tokens.
type Gradient struct {
	// Weights is the loss's gradient with respect to each weight of the assignment, in its order.
	Weights []float32
	// LossScale holds, for each token group, the gradient of the loss with respect to the group's
	// auxiliary loss: the group's share of the global batch's tokens, times whatever the trainer
	// scales its loss by.
	LossScale []float32
	// Losses, if it is not nil, is the set that the LossParams of a [LossSplitter] returned. Its Grad
	// takes the share of the parameters' gradient that LossScale causes, a leaf for each token
	// group; Params().Grad then takes the rest. If Params() is frozen neither takes anything.
	Losses *param.Set
	// Rows is the loss's gradient with respect to the rows that [Decision.Order] made. Gates whose
	// rows are mixtures of tokens read it, and it stays as it is until Backward returns; others
	// ignore it.
	Rows blas32.General
	// FirstLeaf is the number of the first token group in the global batch.
	FirstLeaf int
	// DX is tokens × Dim; the gradient is added to it.
	DX blas32.General
}

// Decision is the result of routing one batch.
type Decision struct {
	Assignment
	// Mixture, if it is not nil, replaces the assignment, which then has no entries: the experts'
	// rows are mixtures of tokens.
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
