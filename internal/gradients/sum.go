package gradients

import (
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// sum is the gradient of one set of parameters over the passes so far.
type sum struct{ total []float32 }

// part is the gradient of one set of parameters in one pass: the leaves of this rank, and where the
// sum of all leaves of all ranks goes.
type part struct {
	leaves *tree.Sum
	next   *[]float32
}

// add adds the gradient of a pass to the total, or makes it the total in exchange for the old one.
func (s *sum) add(next *[]float32, first bool) {
	if first {
		s.total, *next = *next, s.total
		return
	}
	f32.Add(s.total, *next)
}
