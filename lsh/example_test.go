package lsh_test

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/lsh"
)

// Six rows for two experts, of which half may travel. The experts answer with twice what they get.
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

// Rows that point the same way have the same codes, whatever their length.
func ExampleNewHasher() {
	hasher, err := lsh.NewHasher(lsh.Config{Hashes: 2, Width: 2, Centre: lsh.Origin}, 4)
	if err != nil {
		panic(err)
	}
	rows := blas32.General{Rows: 2, Cols: 4, Stride: 4, Data: []float32{1, 2, 3, 4, 2, 4, 6, 8}}
	codes := make([]uint32, 2*2)
	hasher.Codes(codes, rows)
	fmt.Println(codes[0] == codes[2], codes[1] == codes[3])
	// Output: true true
}

// Three rows of one expert in two clusters, and two of another in one.
func ExampleNewClusters() {
	clusters := lsh.NewClusters([][]int32{{0, 1, 0}, {0, 0}})
	fmt.Print(clusters)
	fmt.Println(clusters.Centroids(), "centroids, a share of", clusters.Rate())
	// Output:
	// group 0, 3 rows, 2 centroids: 0 1 0
	// group 1, 2 rows, 1 centroids: 0 0
	// 3 centroids, a share of 0.6
}

// A tenth of the rows in the first steps, and from step 300 on two fifths.
func ExampleRates() {
	rates := lsh.Rates{{Step: 0, Rate: 0.1}, {Step: 300, Rate: 0.4}}
	for _, step := range []int{0, 100, 300, 1000} {
		fmt.Printf("%.2f ", rates.At(step))
	}
	// Output: 0.10 0.20 0.40 0.40
}

// Rows near two centres, written in 3 bits a column and a byte for the centre.
func ExampleLearnCodebook() {
	rows := blas32.General{Rows: 6, Cols: 2, Stride: 2, Data: []float32{9, 1, 9, 1, 9, 1, -4, 6, -4, 6, -4, 6}}
	book, err := lsh.LearnCodebook(lsh.Residual{Bits: 3, Centroids: 2}, rows)
	if err != nil {
		panic(err)
	}
	fmt.Println(book.Centroids().Rows, "centroids, an error of", book.MeanError(rows))
	// Output: 2 centroids, an error of 0
}

// A row that is a centroid comes back as it is.
func ExampleNewCodebook() {
	centroids := blas32.General{Rows: 2, Cols: 2, Stride: 2, Data: []float32{9, 1, -4, 6}}
	book, err := lsh.NewCodebook(lsh.Residual{Bits: 3}, centroids)
	if err != nil {
		panic(err)
	}
	row := make([]float32, 2)
	if err := book.Decode(row, book.Append(nil, []float32{-4, 6})); err != nil {
		panic(err)
	}
	fmt.Println(book.Bytes(128), "bytes for 128 columns;", row)
	// Output: 53 bytes for 128 columns; [-4 6]
}
