// Package batch holds what one pass of a layer is about: the tokens of this rank, and how many
// tokens each rank of the global batch has.
package batch

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/router"
)

// Shape is what tokens have to know of their layer.
type Shape struct {
	// Dim is the number of columns of a token, Experts that of experts over all ranks.
	Dim, Experts int
	// Group is the number of tokens of a token group; all tokens of a rank are one if it is 0 or
	// less.
	Group int
	// Train tells training from evaluation.
	Train bool
	// Step is the number of steps taken before.
	Step int
}

// Tokens are this rank's tokens of one pass.
type Tokens struct {
	// X has a row a token. It is the caller's matrix, or a copy with zeros in the rows of padding; a
	// pass may put another copy in its place.
	X blas32.General
	// Info is what else is known of the tokens; Ends, Train and Step in it are filled in.
	Info router.Batch
	// Real is the number of tokens that are not padding.
	Real int

	given  blas32.General // X as New made it, which is not to change
	sample uint32         // checksum of some of it
	pool   *Pool          // where memory of copies comes from
	lent   []*[]float32   // memory of copies without padding
}

// New checks a batch and describes it. info is what the caller says of the tokens. Memory of copies
// without padding is taken from pool, and Release gives it back.
func New(shape Shape, pool *Pool, x blas32.General, info router.Batch) (Tokens, error) {
	if err := shape.check(x, info); err != nil {
		return Tokens{}, err
	}
	if x.Rows == 0 {
		x = blas32.General{Cols: shape.Dim, Stride: shape.Dim}
	}
	t := Tokens{X: x, Info: info, Real: x.Rows, pool: pool}
	t.Info.Ends, t.Info.Train, t.Info.Step = groupEnds(x.Rows, shape.Group), shape.Train, shape.Step
	for _, padding := range info.Padding {
		if padding {
			t.Real--
		}
	}
	t.clearPadding()
	t.given, t.sample = t.X, sampleOf(t.X)
	return t, nil
}

// check returns what is wrong with a batch, before anything is made for it.
func (s *Shape) check(x blas32.General, info router.Batch) error {
	if err := check.Matrix(x, s.Dim); err != nil {
		return fmt.Errorf("x has %w", err)
	}
	if err := check.AnyMatrix(info.Features); err != nil {
		return fmt.Errorf("Features has %w", err)
	}
	if min(info.Micro, info.StepTokens) < 0 {
		return fmt.Errorf("Micro is %d and StepTokens %d, must not be negative", info.Micro, info.StepTokens)
	}
	for _, of := range []struct {
		what string
		n    int
	}{
		{"marks of padding", len(info.Padding)}, {"modalities", len(info.Modality)},
		{"token numbers", len(info.IDs)}, {"rows of features", info.Features.Rows},
	} {
		if of.n != 0 && of.n != x.Rows {
			return fmt.Errorf("%d %s for %d tokens", of.n, of.what, x.Rows)
		}
	}
	if groups := groupsOf(x.Rows, s.Group); groups > alltoall.MaxCounts/s.Experts {
		return fmt.Errorf("%d tokens in %d groups for %d experts: groups × experts must be at most %d "+
			"(alltoall.MaxCounts); a larger Config.Group makes fewer",
			x.Rows, groups, s.Experts, alltoall.MaxCounts)
	}
	return nil
}

// groupsOf is the number of token groups.
func groupsOf(tokens, size int) int {
	if tokens == 0 || size <= 0 {
		return min(tokens, 1)
	}
	return (tokens-1)/size + 1
}

// groupEnds cuts tokens into groups of size each, the last one maybe smaller; a size of 0 or less
// makes all of them one.
func groupEnds(tokens, size int) []int {
	ends := make([]int, 0, groupsOf(tokens, size))
	if size <= 0 {
		size = max(tokens, 1)
	}
	for end := size; end < tokens; end += size {
		ends = append(ends, end)
	}
	if tokens > 0 {
		ends = append(ends, tokens)
	}
	return ends
}

// CheckFinite returns an error that names the first token that is not finite.
func (t *Tokens) CheckFinite() error {
	if i, j := passcheck.Infinite(t.X); i >= 0 {
		return fmt.Errorf("%w: token %d, column %d of x is %v", alltoall.ErrNotFinite, i, j, mat.Row(t.X, i)[j])
	}
	return nil
}

// LossScale is each token group's share of the tokens of the step, padding left out of both: as
// many as Info.StepTokens says, or those of batches passes with the tokens of global each.
func (t *Tokens) LossScale(global Global, batches int) []float32 {
	all := t.Info.StepTokens
	if all == 0 {
		all = global.TotalTokens() * batches
	}
	scale, begin := make([]float32, len(t.Info.Ends)), 0
	for g, end := range t.Info.Ends {
		n := 0
		for i := begin; i < end; i++ {
			if !t.isPadding(i) {
				n++
			}
		}
		if n > 0 {
			scale[g] = float32(n) / float32(all)
		}
		begin = end
	}
	return scale
}

// Release gives back the memory of copies. Nothing of t is used after it.
func (t *Tokens) Release() {
	for _, data := range t.lent {
		t.pool.list.Give(data)
	}
	t.lent = nil
}
