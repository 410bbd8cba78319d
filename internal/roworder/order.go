// Package roworder is the stage of a layer between the order of tokens and that of experts: it
// makes the rows that travel to experts of tokens, and tokens' outputs of the experts' answers.
//
// Where rows are mixtures of tokens, these are products of matrices, as [router.Decision] does
// them. Where they are tokens, the steps have the bits of router.Decision but read memory in
// another order: rows leave from where the tokens stand, and all answers to a token are added up at
// once.
package roworder

import (
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/router"
)

// Stage orders the rows of one layer, in memory that it uses again for each pass. Evaluation has
// its own memory, so that it may stand between a forward pass and its backward pass. A stage is for
// one goroutine.
type Stage struct {
	dim      int
	train    output
	eval     output
	rows     blas32.General // scratch: rows sorted by expert
	dweights []float32
	dx       blas32.General
}

// output is the outcome of a forward pass.
type output struct {
	y     blas32.General
	index rows.Index // the rows of each token
}

// New makes a stage for rows of dim columns.
func New(dim int) *Stage { return &Stage{dim: dim} }

// Order returns the rows that travel: the tokens x themselves, with the token of each row that
// travels, which is not nil; or for a mixture those rows and nil. They are valid until the next
// call of Order or RestoreBackward.
func (s *Stage) Order(d *router.Decision, x blas32.General) (rows blas32.General, token []int32) {
	if d.Mixture == nil {
		if d.Token == nil {
			return x, []int32{}
		}
		return x, d.Token
	}
	rows = s.sorted(d)
	d.Order(rows, x)
	return rows, nil
}

// sorted returns the scratch matrix with a row for each that travels.
func (s *Stage) sorted(d *router.Decision) blas32.General {
	s.rows = mat.Resize(s.rows, d.NumRows(), s.dim)
	return s.rows
}

// Restore makes the output of the experts' answers, which are sorted by expert: a row for each of
// the tokens. It is valid until the next Restore of training, or of evaluation.
func (s *Stage) Restore(d *router.Decision, answers blas32.General, tokens int, train bool) (
	y blas32.General,
) {
	out := &s.train
	if !train {
		out = &s.eval
	}
	out.y = mat.Resize(out.y, tokens, s.dim)
	if d.Mixture != nil {
		d.Restore(out.y, answers)
		return out.y
	}
	out.index.Set(tokens, d.Token)
	rows.Sum(out.y, answers, &out.index, d.Weight)
	return out.y
}

// RestoreBackward makes of dy, the gradient of the output, those of the answers, and of the weights
// of answers as [router.Gradient] has them. They are valid until the next call.
func (s *Stage) RestoreBackward(d *router.Decision, answers, dy blas32.General) (
	danswers blas32.General, dweights []float32,
) {
	danswers = s.sorted(d)
	n := d.NumWeights()
	s.dweights = slices.Grow(s.dweights[:0], n)[:n]
	if d.Mixture != nil {
		d.RestoreBackward(danswers, s.dweights, answers, dy)
	} else {
		rows.SumBackward(danswers, s.dweights, answers, dy, d.Token, d.Weight)
	}
	return danswers, s.dweights
}

// OrderBackward makes dx of the gradients of the rows that travelled, for the tokens of the last
// Restore of training. It is valid until the next call.
func (s *Stage) OrderBackward(d *router.Decision, drows blas32.General, tokens int) (
	dx blas32.General,
) {
	s.dx = mat.Resize(s.dx, tokens, s.dim)
	if d.Mixture != nil {
		d.OrderBackward(mat.Zero(s.dx), drows)
		return s.dx
	}
	rows.Sum(s.dx, drows, &s.train.index, nil)
	return s.dx
}
