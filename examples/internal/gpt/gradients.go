package gpt

import (
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// Gradients returns the sums of gradients of sets, in their order, as a reduction over ranks takes
// them.
func Gradients(sets []*param.Set) []*tree.Sum {
	sums := make([]*tree.Sum, len(sets))
	for i, set := range sets {
		sums[i] = set.Grad
	}
	return sums
}
