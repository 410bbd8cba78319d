package router_test

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// Three tokens choose two of three experts each.
func ExampleTopK() {
	gate, err := router.TopK{K: 2, Losses: []router.Loss{router.Balance(0.01)}}.New(router.Shape{Dim: 2, Experts: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	copy(gate.Params().Value, []float32{2, 1, 0, 0, 1, 2})
	tokens := blas32.General{Rows: 3, Cols: 2, Stride: 2, Data: []float32{1, 0, 0, 1, 1, 1}}
	d, err := gate.Route(tokens, router.Batch{Ends: []int{3}, Train: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	for e := range d.Experts {
		begin, end := d.Of(router.ExpertID(e))
		fmt.Printf("expert %d: tokens %v, weights %.2f\n", e, d.Token[begin:end], d.Weight[begin:end])
	}
	fmt.Printf("balance loss %.4f\n", d.Losses["balance"])
	// Output:
	// expert 0: tokens [0 2], weights [0.73 0.50]
	// expert 1: tokens [0 1 2], weights [0.27 0.27 0.50]
	// expert 2: tokens [1], weights [0.73]
	// balance loss 0.0096
}
