package param_test

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/param"
)

// The parameters of a gate: two tensors, one after the other. A backward pass writes the gradient
// of each token group into its leaf.
func ExampleNewSet() {
	p := param.NewSet(
		param.Tensor{Name: "columns", Shape: []int{4, 2}}, param.Tensor{Name: "bias", Shape: []int{2}})
	for group := range 3 {
		leaf := p.Grad.Leaf(group)
		p.Of(leaf, 1)[0] = 1
	}
	fmt.Println(len(p.Value), p.Of(p.Grad.Total(), 1))
	// Output: 10 [3 0]
}
