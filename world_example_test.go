package switchyard_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// Ranks compute the mean of their losses.
func ExampleWorld_Comm() {
	onRanks(4, func(world *switchyard.World) error {
		sum := []float32{float32(world.Rank()), 1} // the loss of this rank's tokens, and their number
		err := world.Comm().AllReduce(context.Background(), sum)
		if world.Rank() == 0 {
			fmt.Println("mean loss:", sum[0]/sum[1])
		}
		return err
	})
	// Output: mean loss: 1.5
}

// A pipeline stage sends what it computed to the next one. Both ends number ranks by the list.
func ExampleWorld_View() {
	ctx := context.Background()
	onRanks(4, func(world *switchyard.World) error {
		pair := []transport.Rank{0, 2} // of the first stage, and of the second
		if world.Rank()%2 == 1 {
			pair = []transport.Rank{1, 3}
		}
		stages, err := world.View(pair)
		if err != nil {
			return err
		}
		if stages.Rank() == 0 {
			return stages.Send(ctx, 1, 7, fmt.Append(nil, "activations of rank ", world.Rank()))
		}
		message := make([]byte, 100)
		n, err := stages.Recv(ctx, 0, 7, message)
		fmt.Printf("rank %d has the %s\n", world.Rank(), message[:n])
		return err
	})
	// Unordered output:
	// rank 2 has the activations of rank 0
	// rank 3 has the activations of rank 1
}

// Two batches run on goroutines of their own. Their dense parts compute in turn with the layer's
// experts: each has the processor while the rows of the other travel.
func ExampleWorld_Compute() {
	ctx := context.Background()
	onRanks(2, func(world *switchyard.World) error {
		layer, batches := smallLayer(world), microBatches(int(world.Rank()))
		var both sync.WaitGroup
		for _, x := range batches[:2] {
			p, err := layer.NewPass() // in the same order on every rank
			check(err)
			both.Go(func() {
				world.Compute(func() { // attention and norms, say
					for i := range x.Data {
						x.Data[i] /= 2
					}
				})
				_, err := p.Forward(ctx, x, router.Batch{})
				check(err)
				back(ctx, p)
			})
		}
		both.Wait()
		if world.Rank() == 0 {
			fmt.Println("two batches, one step")
		}
		return layer.Step(ctx, expert.NewSGD(0.1))
	})
	// Output: two batches, one step
}

// Four ranks are two by two. Each axis has a world of its own, in which gradients are summed here.
func ExampleMesh_World() {
	onRanks(4, func(world *switchyard.World) error {
		mesh, err := switchyard.NewMesh(world, switchyard.Axis{Name: "dp", Size: 2}, switchyard.Axis{Name: "tp", Size: 2})
		if err != nil {
			return err
		}
		copies, err := mesh.World("dp")
		if err != nil {
			return err
		}
		sum := []float32{float32(world.Rank())}
		if err := copies.Comm().AllReduce(context.Background(), sum); err != nil {
			return err
		}
		if mesh.Coord("dp") == 0 {
			fmt.Printf("tp %d of %d: the sum over dp is %v\n", mesh.Coord("tp"), mesh.Size("tp"), sum[0])
		}
		return nil
	})
	// Unordered output:
	// tp 0 of 2: the sum over dp is 2
	// tp 1 of 2: the sum over dp is 4
}

// Layers of the new world number its ranks in this order. [schedule.GroupRanks] finds one by which
// each copy of the experts is on ranks with fast links.
func ExampleWorld_Reordered() {
	onRanks(4, func(world *switchyard.World) error {
		reordered, err := world.Reordered([]int{3, 2, 1, 0})
		if err == nil && world.Rank() == 0 {
			fmt.Println("rank 0 is now rank", reordered.Rank())
		}
		return err
	})
	// Output: rank 0 is now rank 3
}

// One batch after another, each in a pass. Its memory serves the next one.
func ExamplePass() {
	ctx := context.Background()
	onRanks(2, func(world *switchyard.World) error {
		layer := smallLayer(world)
		for _, x := range microBatches(0) {
			p, err := layer.ForwardPass(ctx, x, router.Batch{})
			if err != nil {
				return err
			}
			y := p.Output() // the pass's memory, as dx is, until Release
			dx, err := p.Backward(ctx, y)
			if err != nil {
				return err
			}
			if world.Rank() == 0 {
				fmt.Printf("pass %d: %d tokens, a gradient of %d × %d\n", p.Number(), p.Stats().Tokens, dx.Rows, dx.Cols)
			}
			if err := p.Release(); err != nil {
				return err
			}
		}
		return layer.Step(ctx, expert.NewSGD(0.1))
	})
	// Output:
	// pass 1: 2 tokens, a gradient of 2 × 2
	// pass 2: 2 tokens, a gradient of 2 × 2
	// pass 3: 2 tokens, a gradient of 2 × 2
	// pass 4: 2 tokens, a gradient of 2 × 2
}

// The parameters that every rank holds are one part of a checkpoint, as each layer is.
func ExampleDense_State() {
	onRanks(2, func(world *switchyard.World) error {
		embed := param.NewSet(param.Tensor{Name: "w", Shape: []int{16, 2}})
		dense, err := switchyard.NewDense(world, switchyard.NamedSet{Name: "embed", Set: embed})
		if err != nil {
			return err
		}
		state, err := dense.State(expert.NewAdam(0.01)) // for checkpoint.Saver.Save
		if err == nil && world.Rank() == 0 {
			for _, e := range state.Entries {
				fmt.Println(e.Name, e.Shape)
			}
		}
		return err
	})
	// Output:
	// embed.w [16 2]
	// optimizer.embed.w.m [16 2]
	// optimizer.embed.w.v [16 2]
	// optimizer.embed.beta1_power []
	// optimizer.embed.beta2_power []
}

// A trainer's own set on every rank: values from the same seed, or the same constants, everywhere.
func ExampleNewDense() {
	onRanks(2, func(world *switchyard.World) error {
		norm := param.NewSet(param.Tensor{Name: "scale", Shape: []int{2}})
		for i := range norm.Value {
			norm.Value[i] = 1
		}
		dense, err := switchyard.NewDense(world, switchyard.NamedSet{Name: "norm", Set: norm})
		if err != nil {
			return err
		}
		copy(norm.Grad.Leaf(int(world.Rank())), []float32{1, 2}) // of this rank's one token group
		if err := dense.SumGradients(context.Background(), []int{1, 1}); err != nil {
			return err
		}
		if err := dense.Step(context.Background(), expert.NewSGD(0.25)); err != nil {
			return err
		}
		if world.Rank() == 0 {
			fmt.Println(norm.Value)
		}
		return nil
	})
	// Output: [0.5 0]
}

// Layers are told which ranks share a node, and what links cost, as they were measured:
// alltoall.Auto chooses by it.
func ExampleWorld_MeasureLinks() {
	ctx := context.Background()
	onRanks(4, func(world *switchyard.World) error {
		nodes := alltoall.Nodes(world.Size(), 2) // or world.Topology(), which Join finds out
		measured, err := world.MeasureLinks(ctx, nodes)
		if err != nil {
			return err
		}
		if err := world.SetMachine(switchyard.Machine{Topology: nodes, Links: measured.Links}); err != nil {
			return err
		}
		layer := smallLayer(world)
		_, err = layer.Eval(ctx, microBatches(0)[0])
		if world.Rank() == 0 {
			fmt.Println("tokens:", layer.Stats().Tokens)
		}
		return err
	})
	// Output: tokens: 2
}
