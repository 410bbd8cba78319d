// Package gpt is a small byte-level language model for the examples: embeddings, causal or
// bidirectional self-attention, layer norms, GELU feed-forward blocks and the cross-entropy loss,
// each with a backward pass written by hand. The feed-forward layer of a block may instead be a
// [Layer] from outside, which is where an example puts its mixture of experts.
//
// # One model, any number of ranks
//
// A global batch is cut into leaves, runs of whole sequences, whose size does not depend on the
// number of ranks; a rank holds some consecutive leaves of it, or none. Whatever is computed for a
// token depends on its own sequence alone, and every leaf's gradient is written apart (see
// package param), so a rank's share of the work has the same bits whichever rank does it. Sums
// over leaves are the caller's, in whatever order he states.
package gpt

import (
	"context"
	"errors"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"
)

// Vocab is the number of tokens: a token is a byte.
const Vocab = 256

// Config is the shape of a model.
type Config struct {
	// Seq is the number of tokens of a sequence, and the longest context that the model can look
	// back on.
	Seq int
	// Dim is the width of the residual stream, a multiple of Heads.
	Dim int
	// Heads is the number of attention heads of a block.
	Heads int
	// Layers is the number of blocks.
	Layers int
	// Hidden is the width inside a dense feed-forward layer.
	Hidden int
	// Seed fixes the initial parameters.
	Seed uint64
	// Bidirectional lets tokens attend to later ones of their sequence too, as masked prediction
	// has it. Such a model takes whole sequences, and continues none.
	Bidirectional bool
}

// Validate reports every fault of the configuration at once.
func (c Config) Validate() error {
	var errs []error
	atLeastOne := func(name string, v int) {
		if v < 1 {
			errs = append(errs, fmt.Errorf("gpt: %s is %d: must be at least 1", name, v))
		}
	}
	atLeastOne("Seq", c.Seq)
	atLeastOne("Dim", c.Dim)
	atLeastOne("Heads", c.Heads)
	atLeastOne("Layers", c.Layers)
	atLeastOne("Hidden", c.Hidden)
	if c.Heads >= 1 && c.Dim%c.Heads != 0 {
		errs = append(errs, fmt.Errorf("gpt: Dim is %d: must be a multiple of Heads, %d", c.Dim, c.Heads))
	}
	return errors.Join(errs...)
}

// Layer replaces a block's feed-forward layer: rows are tokens, Dim columns. All its
// methods may be collective: every rank calls them in the same order, with as many rows as it has,
// possibly none.
type Layer interface {
	// Forward computes the layer's output. x stays as it is until Backward; the result is valid
	// until the next call.
	Forward(ctx context.Context, x blas32.General) (y blas32.General, err error)
	// Backward takes the loss's gradient with respect to the output of the last Forward and returns
	// the one with respect to its input, valid until the next call.
	Backward(ctx context.Context, dy blas32.General) (dx blas32.General, err error)
	// Eval computes the output as Forward would outside training, and keeps nothing for a Backward.
	Eval(ctx context.Context, x blas32.General) (y blas32.General, err error)
}

// Reader is a [Layer] that wants to know which tokens its rows stand for: Tokens is called before
// each Forward and Eval with a token a row, which stay as they are until Backward.
type Reader interface{ Tokens(tokens []byte) }

// Batch is one rank's share of a global batch: consecutive leaves of whole sequences.
type Batch struct {
	// Inputs holds the sequences, Config.Seq tokens each, and Targets the token that follows each
	// of them.
	Inputs, Targets []byte
	// Scored, if it is not nil, tells of each token whether its loss counts.
	Scored []bool
	// FirstLeaf is the number in the global batch of the rank's first leaf, and LeafStep by how
	// much the number grows from one to the next; 0 means 1. Micro-batches in flight hold every
	// second leaf, say, of a batch.
	FirstLeaf, LeafStep int
	// LeafTokens is the number of tokens of each leaf, a multiple of Config.Seq.
	LeafTokens int
	// GlobalTokens is the number of tokens of the global batch whose loss counts: the loss is the
	// mean over them.
	GlobalTokens int
}

// Leaves is the number of the batch's leaves.
func (b Batch) Leaves() int { return len(b.Inputs) / b.LeafTokens }

// scored is the number of tokens whose loss counts.
func (b Batch) scored() int {
	if b.Scored == nil {
		return len(b.Inputs)
	}
	n := 0
	for _, counts := range b.Scored {
		if counts {
			n++
		}
	}
	return n
}

// scoredOf returns what Scored says of the rows of a leaf.
func (b Batch) scoredOf(l leaf) []bool {
	if b.Scored == nil {
		return nil
	}
	return b.Scored[l.begin:l.end]
}

// leaf is the run of rows [begin, end) of a rank's matrices, with its number in the global batch.
type leaf struct {
	number, begin, end int
}

func (b Batch) leaf(i int) leaf {
	return leaf{number: b.FirstLeaf + i*max(b.LeafStep, 1), begin: i * b.LeafTokens, end: (i + 1) * b.LeafTokens}
}

// check panics if the batch does not fit the model: the caller built both.
func (b Batch) check(c Config) {
	n := len(b.Inputs)
	switch {
	case len(b.Targets) != n:
		panic(fmt.Sprintf("gpt: %d inputs, %d targets", n, len(b.Targets)))
	case b.LeafTokens < 1 || b.LeafTokens%c.Seq != 0 || n%b.LeafTokens != 0:
		panic(fmt.Sprintf("gpt: %d tokens in leaves of %d with sequences of %d", n, b.LeafTokens, c.Seq))
	case b.Scored != nil && len(b.Scored) != n:
		panic(fmt.Sprintf("gpt: %d inputs, of which %d are said to be scored or not", n, len(b.Scored)))
	case b.GlobalTokens < b.scored():
		panic(fmt.Sprintf("gpt: %d tokens of a global batch of %d", b.scored(), b.GlobalTokens))
	}
}
