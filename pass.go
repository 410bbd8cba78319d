package switchyard

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/router"
)

// pass is one batch on its way through the layer, and what its forward pass leaves for its backward
// pass.
type pass struct {
	x         blas32.General
	side      router.Batch // what else is known of the tokens
	ends      []int        // of the groups of this rank's tokens
	real      int          // tokens that are not padding
	spare     *spares      // where memory of copies comes from
	sample    uint32       // checksum of some of x
	batch     batch
	decision  *router.Decision
	rowCounts []int // of each expert, by token group, once they are counted
	rounds    int   // of counts that routing summed over the ranks
	counted   []int // of tokens that chose each expert, over all ranks, if a loss asks for them
	handle    *alltoall.Handle
	experts   experts.Pass
	shared    experts.SharedPass
	answers   blas32.General // of the experts, sorted by expert

	lent  [][]float32     // memory of copies without padding
	fault passcheck.Fault // what is not finite here, once that is known

	compressed *compression.Pass // nil if the rows travel as they are
}

// passShape is what a pass has to know of its layer.
type passShape struct {
	dim, experts, group int
	train               bool
	step                int // steps taken before it
}

// newPass begins a pass over x. side is what the caller says of the tokens; the pass adds what the
// layer knows. Memory of copies without padding is taken from spare, and release gives it back.
func newPass(shape passShape, spare *spares, x blas32.General, side router.Batch) (*pass, error) {
	if err := shape.check(x, side); err != nil {
		return nil, err
	}
	if x.Rows == 0 {
		x = blas32.General{Cols: shape.dim, Stride: shape.dim}
	}
	p := &pass{x: x, ends: groupEnds(x.Rows, shape.group), side: side, spare: spare}
	p.side.Ends, p.side.Train, p.side.Step = p.ends, shape.train, shape.step
	p.real = x.Rows
	for _, padding := range side.Padding {
		if padding {
			p.real--
		}
	}
	p.clean()
	p.sample = sampleOf(p.x)
	return p, nil
}

// check returns what is wrong with a batch, before anything is made for it.
func (s *passShape) check(x blas32.General, side router.Batch) error {
	if err := check.Matrix(x, s.dim); err != nil {
		return fmt.Errorf("x has %w", err)
	}
	if err := check.AnyMatrix(side.Features); err != nil {
		return fmt.Errorf("Features has %w", err)
	}
	if min(side.Micro, side.StepTokens) < 0 {
		return fmt.Errorf("Micro is %d and StepTokens %d, must not be negative", side.Micro, side.StepTokens)
	}
	for _, of := range []struct {
		what string
		n    int
	}{
		{"marks of padding", len(side.Padding)}, {"modalities", len(side.Modality)},
		{"token numbers", len(side.IDs)}, {"rows of features", side.Features.Rows},
	} {
		if of.n != 0 && of.n != x.Rows {
			return fmt.Errorf("%d %s for %d tokens", of.n, of.what, x.Rows)
		}
	}
	if groups := groupsOf(x.Rows, s.group); groups > alltoall.MaxCounts/s.experts {
		return fmt.Errorf("%d tokens in %d groups for %d experts: groups × experts must be at most %d "+
			"(alltoall.MaxCounts); a larger Config.Group makes fewer",
			x.Rows, groups, s.experts, alltoall.MaxCounts)
	}
	return nil
}

// groupsOf is the number of groups of tokens.
func groupsOf(tokens, size int) int {
	if tokens == 0 || size <= 0 {
		return min(tokens, 1)
	}
	return (tokens-1)/size + 1
}

// groupEnds cuts tokens into groups of size each, the last one maybe smaller; PerRank and 0 make
// all of them one.
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

// padded tells whether token t is padding.
func (p *pass) padded(t int) bool { return len(p.side.Padding) != 0 && p.side.Padding[t] }

// checkInput returns an error that names the first token that is not finite.
func (p *pass) checkInput() error {
	if t, j := passcheck.Infinite(p.x); t >= 0 {
		return fmt.Errorf("%w: token %d, column %d of x is %v", alltoall.ErrNotFinite, t, j, mat.Row(p.x, t)[j])
	}
	return nil
}

// counts counts the rows that go to each expert, by token group. Nobody may change it.
func (p *pass) counts() alltoall.Counts {
	if p.rowCounts == nil {
		p.rowCounts = make([]int, p.decision.Experts*len(p.ends))
		p.decision.CountRows(p.rowCounts, p.ends)
	}
	return alltoall.Counts{
		Tokens: p.x.Rows, Padding: p.x.Rows - p.real, Leaves: len(p.ends), Rows: p.rowCounts,
	}
}

// lossScale is each group's share of the tokens of the step, as far as those are known, padding
// left out of both.
func (p *pass) lossScale(batches int) []float32 {
	all := p.side.StepTokens
	if all == 0 {
		all = mat.Sum(p.batch.tokens) * batches
	}
	scale, begin := make([]float32, len(p.ends)), 0
	for g, end := range p.ends {
		n := 0
		for t := begin; t < end; t++ {
			if !p.padded(t) {
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

// unanswered counts the tokens without any expert.
func (p *pass) unanswered() int {
	if p.decision.Mixture != nil {
		return 0
	}
	answered := make([]bool, p.x.Rows)
	n := p.real
	for _, t := range p.decision.Token {
		if !answered[t] {
			answered[t] = true
			n--
		}
	}
	return n
}

// release gives back what the pass holds.
func (p *pass) release() {
	p.spare.give(p.lent)
	p.lent = nil
	if p.compressed != nil {
		p.compressed.Release()
		p.compressed = nil
	}
	if p.handle != nil {
		p.handle.Release()
		p.handle = nil
	}
}
