package gradients

import (
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// sum is the gradient of one set of parameters over the passes so far.
type sum struct {
	total  []float32
	passes int
}

// part is the gradient of one set of parameters in one pass: the leaves of this rank, and where the
// sum of all leaves of all ranks goes.
type part struct {
	leaves *tree.Sum
	next   *[]float32
}

// add adds the gradient of some passes to the total, or makes it the total in exchange for the old
// one.
func (s *sum) add(next *[]float32, passes int) {
	if s.passes == 0 {
		s.total, *next = *next, s.total
	} else {
		f32.Add(s.total, *next)
	}
	s.passes += passes
}
