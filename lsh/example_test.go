package lsh_test

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/lsh"
)

// Six rows for two experts, of which half may travel. The experts here answer with twice what they get.
func Example() {
	rows := blas32.General{Rows: 6, Cols: 2, Stride: 2, Data: []float32{
		1, 10, 3, 10, -8, 1, // the first expert's
		5, 5, 7, 5, 6, 8, // the second one's
	}}
	compressor, err := lsh.New(lsh.Config{Rate: 0.5, Compensation: lsh.Identity}, 2, 2)
	if err != nil {
		panic(err)
	}
	centroids, pass := compressor.Compress(rows, []int{3, 6})
	defer pass.Release()
	fmt.Print(pass.Clusters())
	fmt.Println("travelling:", centroids.Data)

	answers := blas32.General{Rows: 4, Cols: 2, Stride: 2, Data: make([]float32, 8)}
	for i, v := range centroids.Data {
		answers.Data[i] = 2 * v
	}
	restored := blas32.General{Rows: 6, Cols: 2, Stride: 2, Data: make([]float32, 12)}
	pass.Restore(restored, answers)
	fmt.Println("the first row's answer:", restored.Data[:2])
	// Output:
	// group 0, 3 rows, 2 centroids: 1 1 0
	// group 1, 3 rows, 2 centroids: 0 0 1
	// travelling: [-8 1 2 10 6 5 6 8]
	// the first row's answer: [3 20]
}
