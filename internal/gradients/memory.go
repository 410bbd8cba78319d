package gradients

import (
	"slices"

	"github.com/switchyard-moe/switchyard/internal/gaps"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// memory is what a pass has while it is under way. A pass has leaves from the first [Pass.Do] until
// they are reduced, and the vectors that they are reduced to until these are added.
type memory struct {
	number uint64
	comms  Comms
	batch  Batch
	job    *gaps.Job // in whose pieces it is reduced; nil: in whole

	leaves []*tree.Sum // of each set of the reducer, nil for none
	next   [][]float32

	// The reducer's mutex guards what follows.
	choices
	reduced, ended bool
}

// spare is the memory of passes that have ended.
type spare struct {
	memory []*memory
	leaves [][]*tree.Sum
	next   [][][]float32
}

// take returns the last of a list, and whether there is one.
func take[T any](list *[]T) (v T, ok bool) {
	last := len(*list) - 1
	if last < 0 {
		return v, false
	}
	v, *list = (*list)[last], (*list)[:last]
	return v, true
}

// takeLeaves gives the pass leaves, if it has none.
func (r *Reducer) takeLeaves(m *memory) {
	if m.leaves != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var ok bool
	if m.leaves, ok = take(&r.spare.leaves); ok {
		return
	}
	m.leaves = make([]*tree.Sum, len(r.sets))
	for i, set := range r.sets {
		if set != nil {
			m.leaves[i] = tree.NewSum(len(set.Value))
		}
	}
}

// takeNext gives the pass the vectors that its leaves are reduced to.
func (r *Reducer) takeNext(m *memory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ok bool
	if m.next, ok = take(&r.spare.next); !ok {
		m.next = make([][]float32, len(r.sets))
	}
}

// giveLeaves takes the leaves of the pass back, which forgets them.
func (r *Reducer) giveLeaves(m *memory) {
	if m.leaves == nil {
		return
	}
	for _, s := range m.leaves {
		if s != nil {
			s.Reset()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spare.leaves = append(r.spare.leaves, m.leaves)
	m.leaves = nil
}

// give takes back what a pass has that is not under way any more.
func (r *Reducer) give(m *memory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.next != nil {
		r.spare.next = append(r.spare.next, m.next)
		m.next = nil
	}
	r.spare.memory = append(r.spare.memory, m)
}

// free forgets the memory for the gradients of a set.
func (s *spare) free(set int) {
	for _, leaves := range s.leaves {
		leaves[set].Free()
	}
	for _, next := range s.next {
		next[set] = nil
	}
}

// part is the gradient of a set in a pass.
func (m *memory) part(set int) part { return part{m.leaves[set], &m.next[set]} }

// room returns v with n elements.
func room(v []float32, n int) []float32 { return slices.Grow(v[:0], n)[:n] }
