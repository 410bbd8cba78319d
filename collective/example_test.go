package collective_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// Four ranks add up their vectors; every rank receives the same sum.
func ExampleNew() {
	sums := make([][]float32, 4)
	var ranks sync.WaitGroup
	for r, t := range inproc.New(4) {
		ranks.Go(func() {
			defer t.Close()
			x := []float32{float32(r), 1}
			if err := collective.New(t).AllReduce(context.Background(), x); err != nil {
				panic(err)
			}
			sums[r] = x
		})
	}
	ranks.Wait()
	fmt.Println(sums)
	// Output: [[6 4] [6 4] [6 4] [6 4]]
}

// Rank 1 sends its bytes to all; then every rank gathers a byte of each.
func ExampleComm_Broadcast() {
	got := make([]string, 3)
	var ranks sync.WaitGroup
	for r, t := range inproc.New(3) {
		ranks.Go(func() {
			defer t.Close()
			comm, buf, all := collective.New(t), make([]byte, 5), make([]byte, 3)
			if transport.Rank(r) == 1 {
				copy(buf, "hello")
			}
			if err := comm.Broadcast(context.Background(), 1, buf); err != nil {
				panic(err)
			}
			if err := comm.AllGather(context.Background(), all, []byte{'a' + byte(r)}); err != nil {
				panic(err)
			}
			got[r] = string(buf) + " " + string(all)
		})
	}
	ranks.Wait()
	fmt.Printf("%q\n", got)
	// Output: ["hello abc" "hello abc" "hello abc"]
}

// Each rank runs two passes on goroutines of their own, in any order: the calls of a pass meet by
// its number.
func ExampleComm_Pass() {
	var sums [2][2]int64 // by rank and pass
	var ranks sync.WaitGroup
	for r, t := range inproc.New(2) {
		ranks.Go(func() {
			defer t.Close()
			comm := collective.New(t)
			var passes sync.WaitGroup
			for n := range uint64(2) {
				passes.Go(func() {
					own := comm.Pass(n)
					defer own.End()
					x := []int64{int64(10*n) + int64(r)}
					if err := own.AllReduceInt64(context.Background(), x, collective.Sum); err != nil {
						panic(err)
					}
					sums[r][n] = x[0]
				})
			}
			passes.Wait()
		})
	}
	ranks.Wait()
	fmt.Println(sums)
	// Output: [[1 21] [1 21]]
}

// Four ranks own a slice each of a vector of ten elements.
func ExampleSlice() {
	for r := range 4 {
		fmt.Println(collective.Slice(10, r, 4))
	}
	// Output:
	// 0 3
	// 3 6
	// 6 8
	// 8 10
}

// Two ranks add up vectors in 8 bits, five times. Beside numbers as large as 127 a sum of 0.8 is
// rounded to 0 or 2; what that loses comes with a later sum.
func ExampleComm_AllReduceQuantized() {
	sums := make([][]float32, 2)
	var ranks sync.WaitGroup
	for r, t := range inproc.New(2) {
		ranks.Go(func() {
			defer t.Close()
			comm, lost := collective.New(t), [][]float32{make([]float32, 4)}
			for range 5 {
				x := []float32{127, 0.4, 127, 0.4}
				if err := comm.AllReduceQuantized(context.Background(), alltoall.Int8, [][]float32{x}, lost); err != nil {
					panic(err)
				}
				sums[r] = append(sums[r], x[1])
			}
		})
	}
	ranks.Wait()
	fmt.Printf("%.1f\n", sums)
	// Output: [[0.0 2.0 0.0 2.0 0.0] [0.0 2.0 0.0 2.0 0.0]]
}

// Four ranks on two nodes sum their vectors, within each node first. The result has the same bits
// as without.
func ExampleComm_SetNodes() {
	topology, sums := alltoall.Nodes(4, 2), make([]float32, 4)
	var ranks sync.WaitGroup
	for r, t := range inproc.New(4) {
		ranks.Go(func() {
			defer t.Close()
			comm, x := collective.New(t), make([]float32, 1<<16)
			if err := comm.SetNodes(topology.Node, 0); err != nil {
				panic(err)
			}
			x[9] = float32(r)
			if err := comm.AllReduce(context.Background(), x); err != nil {
				panic(err)
			}
			sums[r] = x[9]
		})
	}
	ranks.Wait()
	fmt.Println(sums)
	// Output: [6 6 6 6]
}

// Two ranks add up one number for rank 0, and two for rank 1.
func ExampleComm_ReduceScatterV() {
	sums := make([][]float32, 2)
	var ranks sync.WaitGroup
	for r, t := range inproc.New(2) {
		ranks.Go(func() {
			defer t.Close()
			sum, err := collective.New(t).ReduceScatterV(context.Background(), [][]float32{{1}, {float32(r), 5}})
			if err != nil {
				panic(err)
			}
			sums[r] = sum
		})
	}
	ranks.Wait()
	fmt.Println(sums)
	// Output: [[2] [1 10]]
}
