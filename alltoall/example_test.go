package alltoall_test

import (
	"context"
	"fmt"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// Each of two ranks hosts one expert, which doubles its rows, and sends one row to each expert.
func ExampleNew() {
	ctx, answers := context.Background(), make([][]float32, 2)
	var ranks sync.WaitGroup
	for r, t := range inproc.New(2) {
		ranks.Go(func() {
			defer t.Close()
			exchange, err := alltoall.New(t, alltoall.Config{Placement: alltoall.Even(2, 2), Dim: 1})
			if err != nil {
				panic(err)
			}
			rows := blas32.General{Rows: 2, Cols: 1, Stride: 1, Data: []float32{float32(10 * r), float32(10*r + 1)}}
			counts := alltoall.Counts{Tokens: 2, Leaves: 1, Rows: []int{1, 1}}
			handle, err := exchange.Begin(ctx, alltoall.Request{Counts: counts, Rows: rows})
			if err != nil {
				panic(err)
			}
			defer handle.Release()
			arrived, _, err := handle.Dispatch(ctx, 0)
			if err != nil {
				panic(err)
			}
			for i := range arrived.Data {
				arrived.Data[i] *= 2
			}
			home, err := handle.Combine(ctx, 0, arrived)
			if err != nil {
				panic(err)
			}
			answers[r] = append(answers[r], home.Data...)
		})
	}
	ranks.Wait()
	fmt.Println(answers)
	// Output: [[0 2] [20 22]]
}

// Each rank has two passes in flight, on goroutines of their own: rows of a pass go to the experts
// and come back apart from those of the other.
func ExampleExchange_Pass() {
	ctx := context.Background()
	var home [2][2][]float32 // by rank and pass
	var ranks sync.WaitGroup
	for r, t := range inproc.New(2) {
		ranks.Go(func() {
			defer t.Close()
			exchange, err := alltoall.New(t, alltoall.Config{Placement: alltoall.Even(2, 2), Dim: 1})
			if err != nil {
				panic(err)
			}
			var passes sync.WaitGroup
			for n := range uint64(2) {
				passes.Go(func() {
					pass := exchange.Pass(n)
					defer pass.End()
					rows := blas32.General{Rows: 2, Cols: 1, Stride: 1, Data: []float32{float32(r), float32(10 * n)}}
					counts := alltoall.Counts{Tokens: 2, Leaves: 1, Rows: []int{1, 1}}
					handle, err := pass.Begin(ctx, alltoall.Request{Counts: counts, Rows: rows})
					if err != nil {
						panic(err)
					}
					defer handle.Release()
					arrived, _, err := handle.Dispatch(ctx, 0)
					if err != nil {
						panic(err)
					}
					answers, err := handle.Combine(ctx, 0, arrived)
					if err != nil {
						panic(err)
					}
					home[r][n] = append(home[r][n], answers.Data...)
				})
			}
			passes.Wait()
		})
	}
	ranks.Wait()
	fmt.Println(home)
	// Output: [[[0 0] [0 10]] [[1 0] [1 10]]]
}

// Between nodes, which share a slow link, rows travel in four bits, and within a node as they are.
func ExampleExchange_SetWire() {
	ts := inproc.New(1)
	defer ts[0].Close()
	exchange, err := alltoall.New(ts[0], alltoall.Config{Placement: alltoall.Even(2, 1), Dim: 64})
	if err != nil {
		panic(err)
	}
	wire := alltoall.Everywhere(alltoall.NVFP4H)
	wire.Within = &alltoall.Wire{}
	if err := exchange.SetWire(wire); err != nil { // every rank does so
		panic(err)
	}
	fmt.Println(wire.RowBytes(64), "bytes of a row between nodes,", wire.Within.RowBytes(64), "within one")
	// Output: 160 bytes of a row between nodes, 1024 within one
}

// What rank 1 of four does in Bruck's algorithm: log₂ 4 steps, each with one rank.
func ExampleAlgorithm_Steps() {
	for _, step := range alltoall.Bruck.Steps(alltoall.Topology{}, 4, 1) {
		fmt.Println("sends", step.Sends, "receives", step.Recvs)
	}
	// Output:
	// sends [{2 [{1 2} {1 0}]}] receives [{0 [{0 1} {0 3}]}]
	// sends [{3 [{1 3} {0 3}]}] receives [{3 [{3 1} {2 1}]}]
}

// Five experts on two ranks.
func ExampleEven() {
	place := alltoall.Even(5, 2)
	fmt.Println(place.Count(0), place.Count(1))
	// Output: 2 3
}

// A name from a flag or an environment variable.
func ExampleParseAlgorithm() {
	a, err := alltoall.ParseAlgorithm("rails")
	fmt.Println(a, err)
	_, err = alltoall.ParseAlgorithm("fastest")
	fmt.Println(err != nil)
	// Output:
	// rails <nil>
	// true
}

// Ranks 0 to 2 are on one node, 3 and 4 on another.
func ExampleNodes() {
	nodes := alltoall.Nodes(5, 3)
	fmt.Println(nodes.Validate(5), nodes.Validate(4) != nil)
	// Output: <nil> true
}

// Expert 0 gets most rows, so that rank 1, which hosts expert 1, computes those of the tokens of
// its own leaves.
func ExampleAllocation() {
	loads := &alltoall.Loads{
		Placement: alltoall.Even(2, 2), Leaves: []int{2, 2},
		Rows: []int32{
			8, 9, 7, 8, // of expert 0
			0, 1, 1, 0, // of expert 1
		},
	}
	shared := alltoall.Allocation{
		{Expert: 0, Rank: 0, First: 0, End: 2},
		{Expert: 0, Rank: 1, First: 2, End: 4},
	}
	fmt.Println(loads.Of(0, 0, 2), loads.Of(0, 2, 4), shared.Validate(loads, alltoall.Limits{Slots: 1}))
	fmt.Println(shared[1:].Validate(loads, alltoall.Limits{Slots: 1}))
	// Output:
	// 17 15 <nil>
	// alltoall: allocation: run 0 is of leaves [2, 4) of expert 0, want some from 0 on, of 4
}
