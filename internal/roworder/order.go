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
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/router"
)

// Stage orders the rows of one layer. Its methods may be called for several passes at a time, each
// of which has memory of its own, taken from passes that have given theirs back.
type Stage struct {
	dim   int
	order layout.Order

	mu      sync.Mutex
	outputs []output
	inputs  []blas32.General // gradients of tokens
	scratch []scratch
}

// Pass is the memory of one pass. The zero value has none.
type Pass struct {
	output
	dx blas32.General
	scratch
	arranged
}

// output is the outcome of a forward pass.
type output struct {
	y     blas32.General
	index rows.Index // the rows of each token
}

// scratch has a row for each that travels, sorted by expert.
type scratch struct {
	rows     blas32.General
	dweights []float32
}

// New makes a stage for rows of dim columns, which travel by the order of their experts. That is
// plain if rows are mixtures of tokens.
func New(dim int, order layout.Order) *Stage { return &Stage{dim: dim, order: order} }

// take returns memory out of a list, the last that was put into it, or none.
func take[T any](s *Stage, list *[]T) (memory T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := len(*list) - 1; last >= 0 {
		memory, *list = (*list)[last], (*list)[:last]
	}
	return memory
}

// put is the opposite of take.
func put[T any](s *Stage, list *[]T, memory *T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, *memory)
	*memory = *new(T)
}

// ReleaseOutput gives back what Restore has made.
func (s *Stage) ReleaseOutput(p *Pass) {
	if p.y.Data != nil {
		put(s, &s.outputs, &p.output)
	}
}

// ReleaseInput gives back what OrderBackward has made.
func (s *Stage) ReleaseInput(p *Pass) {
	if p.dx.Data != nil {
		put(s, &s.inputs, &p.dx)
	}
}

// ReleaseRows gives back what Order and RestoreBackward have made.
func (s *Stage) ReleaseRows(p *Pass) {
	if p.rows.Data != nil {
		put(s, &s.scratch, &p.scratch)
	}
}

// Order returns the rows that travel: the tokens x themselves, with the token of each row that
// travels, which is not nil; or for a mixture those rows and nil. They are valid until ReleaseRows
// or RestoreBackward.
func (s *Stage) Order(p *Pass, d *router.Decision, x blas32.General) (rows blas32.General, token []int32) {
	d = s.arrange(p, d)
	if d.Mixture == nil {
		if d.Token == nil {
			return x, []int32{}
		}
		return x, d.Token
	}
	rows = s.sorted(p, d)
	d.Order(rows, x)
	return rows, nil
}

// Gather is Order where the rows that travel are copies of the tokens, which may be written to.
func (s *Stage) Gather(p *Pass, d *router.Decision, x blas32.General) (rows blas32.General) {
	rows, d = s.sorted(p, d), s.arrange(p, d)
	d.Order(rows, x)
	return rows
}

// sorted returns the pass's matrix with a row for each that travels.
func (s *Stage) sorted(p *Pass, d *router.Decision) blas32.General {
	if p.rows.Data == nil {
		p.scratch = take(s, &s.scratch)
	}
	p.rows = mat.Resize(p.rows, d.NumRows(), s.dim)
	return p.rows
}

// Restore makes the output of the experts' answers, which are sorted by expert: a row for each of
// the tokens. It is valid until ReleaseOutput.
func (s *Stage) Restore(p *Pass, d *router.Decision, answers blas32.General, tokens int) (
	y blas32.General,
) {
	if p.y.Data == nil {
		p.output = take(s, &s.outputs)
	}
	p.y = mat.Resize(p.y, tokens, s.dim)
	if d.Mixture != nil {
		d.Restore(p.y, answers)
		return p.y
	}
	p.index.Set(tokens, d.Token)
	if !s.order.Plain() {
		p.index.Renumber(p.to)
		d = &p.sent
	}
	rows.Sum(p.y, answers, &p.index, d.Weight)
	return p.y
}

// RestoreBackward makes of dy, the gradient of the output, those of the answers, and of the weights
// of answers as [router.Gradient] has them. They are valid until ReleaseRows.
func (s *Stage) RestoreBackward(p *Pass, d *router.Decision, answers, dy blas32.General) (
	danswers blas32.General, dweights []float32,
) {
	danswers = s.sorted(p, d)
	n := d.NumWeights()
	p.dweights = slices.Grow(p.dweights[:0], n)[:n]
	switch {
	case d.Mixture != nil:
		d.RestoreBackward(danswers, p.dweights, answers, dy)
	case !s.order.Plain():
		rows.SumBackward(danswers, p.dweights, answers, dy, p.sent.Token, p.sent.Weight)
		return danswers, p.decided(p.dweights)
	default:
		rows.SumBackward(danswers, p.dweights, answers, dy, d.Token, d.Weight)
	}
	return danswers, p.dweights
}

// OrderBackward makes dx of the gradients of the rows that travelled, for the tokens of Restore. It
// is valid until ReleaseInput.
func (s *Stage) OrderBackward(p *Pass, d *router.Decision, drows blas32.General, tokens int) (
	dx blas32.General,
) {
	if p.dx.Data == nil {
		p.dx = take(s, &s.inputs)
	}
	p.dx = mat.Resize(p.dx, tokens, s.dim)
	if d.Mixture != nil {
		d.OrderBackward(mat.Zero(p.dx), drows)
		return p.dx
	}
	rows.Sum(p.dx, drows, &p.index, nil)
	return p.dx
}
