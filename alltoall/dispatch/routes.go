package dispatch

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// none in the place of an expert says that there is none.
const none = -1

// routes says which token goes to which expert, an entry for each row that leaves: sorted by
// expert, and then by token.
type routes struct {
	counts []int     // entries of each expert
	token  []int32   // of each entry
	weight []float32 // of each entry's answer
	slot   []int32   // where each entry stands in the caller's lists

	last []int32 // scratch: one more than the token that last named each expert
	next []int   // scratch: where the next entry of each expert stands
}

// set makes routes of the caller's lists, k of each token. An error says what is wrong with them,
// and r then has no meaning.
func (r *routes) set(experts, tokens int, indices []int32, weights []float32) error {
	if len(indices) != len(weights) || len(indices) > mostRows ||
		tokens == 0 && len(indices) > 0 || tokens > 0 && len(indices)%tokens != 0 {
		return fmt.Errorf("%d indices and %d weights for %d tokens, want as many of both, the same number "+
			"for each token and at most %d", len(indices), len(weights), tokens, mostRows)
	}
	k := 0
	if tokens > 0 {
		k = len(indices) / tokens
	}
	if err := r.count(experts, k, indices, weights); err != nil {
		return err
	}
	r.sort(k, indices, weights)
	return nil
}

// count checks the choices, and counts those of each expert.
func (r *routes) count(experts, k int, indices []int32, weights []float32) error {
	r.counts, r.last = mat.Reuse(r.counts, experts), mat.Reuse(r.last, experts)
	clear(r.counts)
	clear(r.last)
	for i, e := range indices {
		if e == none {
			continue
		}
		token := int32(i/k) + 1
		switch {
		case e < none || int(e) >= experts:
			return fmt.Errorf("token %d, choice %d: expert %d, want 0 to %d, or %d for none", i/k, i%k, e, experts-1, none)
		case r.last[e] == token:
			return fmt.Errorf("token %d, choice %d: expert %d a second time, want each once", i/k, i%k, e)
		case weights[i]-weights[i] != 0:
			return fmt.Errorf("%w: token %d, choice %d: weight %v of expert %d", alltoall.ErrNotFinite, i/k, i%k, weights[i], e)
		}
		r.last[e] = token
		r.counts[e]++
	}
	return nil
}

// sort writes the entries. It is a counting sort, to which choices come in the order of tokens.
func (r *routes) sort(k int, indices []int32, weights []float32) {
	r.next = mat.Reuse(r.next, len(r.counts))
	total := 0
	for e, n := range r.counts {
		r.next[e] = total
		total += n
	}
	r.token, r.weight, r.slot = mat.Reuse(r.token, total), mat.Reuse(r.weight, total), mat.Reuse(r.slot, total)
	for i, e := range indices {
		if e == none {
			continue
		}
		n := r.next[e]
		r.next[e]++
		r.token[n], r.weight[n], r.slot[n] = int32(i/k), weights[i], int32(i)
	}
	if r.token == nil {
		r.token = []int32{} // that no rows travel, not that all do
	}
}

// routed returns m, which has a row a token, with zeros for the tokens that go to no expert: in the
// memory of scratch.
func (r *routes) routed(m, scratch blas32.General) blas32.General {
	scratch = mat.Zero(mat.Resize(scratch, m.Rows, m.Cols))
	for _, t := range r.token {
		copy(mat.Row(scratch, int(t)), mat.Row(m, int(t)))
	}
	return scratch
}

// checkShape returns what is wrong with the shape of m, which has a row a token and dim columns.
func checkShape(name string, m blas32.General, rows, dim int) error {
	if err := check.Matrix(m, dim); err != nil {
		return fmt.Errorf("%s has %w", name, err)
	}
	if m.Rows != rows {
		return fmt.Errorf("%s has %d rows, want %d", name, m.Rows, rows)
	}
	return nil
}
