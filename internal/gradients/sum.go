package gradients

import (
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// sum is the gradient of one set of parameters over the passes so far.
type sum struct{ total []float32 }

// part is the gradient of one set of parameters in one pass.
type part struct {
	leaves *tree.Sum // of this rank
	next   []float32 // the sum of all leaves of all ranks, once they are reduced
}

// add adds the gradient of a pass to the total, or makes it the total.
func (s *sum) add(p *part, first bool) {
	if first {
		s.total, p.next = p.next, s.total
		return
	}
	f32.Add(s.total, p.next)
}

// forget forgets the leaves, and with free their memory too.
func (p *part) forget(free bool) {
	switch {
	case p.leaves == nil:
	case free:
		p.leaves.Free()
		p.next = nil
	default:
		p.leaves.Reset()
	}
}
