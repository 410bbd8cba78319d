package switchyard_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// Three ranks hold a vector of the program's own, beside the layers. The global batch has four
// token groups: rank 0 has the first two, and the others one each. The sums have the same bits if
// one rank has all four.
func ExampleDense_SumGradients() {
	ctx, ranks := context.Background(), sync.WaitGroup{}
	leaves := []int{2, 1, 1} // token groups of each rank
	first := []int{0, 2, 3}  // of which this is the first
	for rank, end := range inproc.New(3) {
		ranks.Go(func() {
			world := switchyard.NewWorld(end)
			defer world.Close()
			norm := param.NewSet(param.Tensor{Name: "scale", Shape: []int{2}})
			dense, err := switchyard.NewDense(world, switchyard.NamedSet{Name: "norm", Set: norm})
			check(err)

			// The program's backward pass gives the gradient of each of its token groups.
			for group := first[rank]; group < first[rank]+leaves[rank]; group++ {
				copy(norm.Grad.Leaf(group), []float32{float32(group), 1})
			}
			check(dense.SumGradients(ctx, leaves))
			length, err := switchyard.ClipGradients(ctx, 1, dense) // and the layers
			check(err)
			check(dense.Step(ctx, expert.NewSGD(1)))
			if rank == 0 {
				fmt.Printf("norm %.2f before, values %.2f\n", length, norm.Value)
			}
		})
	}
	ranks.Wait()
	// Output: norm 7.21 before, values [-0.83 -0.55]
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// Two ranks send gradients in four bits a number: an eighth of the bytes. What rounding loses of a
// step comes with the next one.
func ExampleDense_SetSums() {
	ctx, ranks := context.Background(), sync.WaitGroup{}
	for rank, end := range inproc.New(2) {
		ranks.Go(func() {
			world := switchyard.NewWorld(end)
			defer world.Close()
			w := param.NewSet(param.Tensor{Name: "w", Shape: []int{256, 1024}})
			dense, err := switchyard.NewDense(world, switchyard.NamedSet{Name: "linear", Set: w})
			check(err)
			var sent []uint64
			for _, sums := range []alltoall.Codec{nil, alltoall.NVFP4H} {
				check(dense.SetSums(sums))
				before := world.WireBytes()
				w.Grad.Leaf(rank)[7] = 1 // of the program's backward pass
				check(dense.SumGradients(ctx, []int{1, 1}))
				sent = append(sent, world.WireBytes()-before)
				check(dense.Step(ctx, expert.NewSGD(1)))
			}
			if rank == 0 {
				fmt.Printf("%.2f of the bytes, values %.1f\n", float64(sent[1])/float64(sent[0]), w.Value[6:9])
			}
		})
	}
	ranks.Wait()
	// Output: 0.14 of the bytes, values [0.0 -4.0 0.0]
}
