package routing

import (
	"errors"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/router"
)

// checkDecision returns what is wrong with what a gate has decided. A gate may come from outside
// this module: what it gets wrong fails the batch on every rank, before rows are moved by it.
func checkDecision(d *router.Decision, t *batch.Tokens, experts int) error {
	tokens := t.X.Rows
	switch {
	case d == nil:
		return errors.New("the gate made no decision")
	case d.Tokens != tokens || d.Experts != experts:
		return fmt.Errorf("the gate's decision is of %d tokens and %d experts, want %d and %d",
			d.Tokens, d.Experts, tokens, experts)
	case d.Mixture != nil:
		return checkMixture(d.Mixture, t.Info.Ends, tokens, experts)
	case !f32.Finite(d.Weight):
		return fmt.Errorf("%w: a weight of the gate's decision", alltoall.ErrNotFinite)
	}
	if err := d.Validate(); err != nil {
		return errtext.Errorf("the gate's decision: %w", err)
	}
	return nil
}

// checkMixture is checkDecision of a mixture.
func checkMixture(m *router.Mixture, ends []int, tokens, experts int) error {
	if m.Slots < 1 || m.Slots > check.MaxSize || !slices.Equal(m.Ends, ends) || len(m.Empty) != len(ends) {
		return fmt.Errorf("the gate's mixture has %d slots, groups that end at %v, and says of %d groups "+
			"whether they are empty; want 1 slot or more, and the groups %v",
			m.Slots, m.Ends, len(m.Empty), ends)
	}
	for name, matrix := range map[string]blas32.General{"Dispatch": m.Dispatch, "Combine": m.Combine} {
		err := check.Matrix(matrix, experts*m.Slots)
		if err == nil && matrix.Rows != tokens {
			err = fmt.Errorf("%d rows, want %d", matrix.Rows, tokens)
		}
		if err != nil {
			return errtext.Errorf("the gate's mixture: %s has %w", name, err)
		}
	}
	return nil
}

// Slots is the number of rows that each token group sends to each expert, if the gate's rows are
// mixtures of tokens; else 0.
func Slots(gate router.Gate) int {
	if g, ok := gate.(router.Mixer); ok {
		return g.Slots()
	}
	return 0
}

// Counts counts the rows that go to each expert, by token group of t, the tokens that were routed.
// Nobody may change it.
func (r *Result) Counts(t *batch.Tokens) alltoall.Counts {
	if r.rows == nil {
		r.rows = make([]int, r.Decision.Experts*len(t.Info.Ends))
		r.Decision.CountRows(r.rows, t.Info.Ends)
	}
	return alltoall.Counts{
		Tokens: t.X.Rows, Padding: t.X.Rows - t.Real, Leaves: len(t.Info.Ends), Rows: r.rows,
	}
}

// Unanswered counts the tokens of t, the tokens that were routed, that have no expert.
func (r *Result) Unanswered(t *batch.Tokens) int {
	if r.Decision.Mixture != nil {
		return 0
	}
	answered := make([]bool, t.X.Rows)
	n := t.Real
	for _, i := range r.Decision.Token {
		if !answered[i] {
			answered[i] = true
			n--
		}
	}
	return n
}
