package switchyard_test

import (
	"context"
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule"
)

// smallLayer has four experts, of which a token takes one, and tokens of two columns.
func smallLayer(world *switchyard.World) *switchyard.Layer {
	layer, err := switchyard.NewLayer(world, switchyard.Config{
		Dim: 2, Experts: 4, Group: 2,
		Router: router.TopK{K: 1, CapacityFactor: 2}, Expert: expert.FFN{Hidden: 3},
	})
	check(err)
	return layer
}

// thereAndBack is a Forward and a Backward of two tokens. The gradient of |y|²/2 is y.
func thereAndBack(ctx context.Context, layer *switchyard.Layer) error {
	y, err := layer.Forward(ctx, microBatches(1)[0])
	if err == nil {
		_, err = layer.Backward(ctx, y)
	}
	return err
}

// Every rank clips by the norm of the whole model, wherever its experts are.
func ExampleClipGradients() {
	ctx := context.Background()
	onRanks(2, func(world *switchyard.World) error {
		layer := smallLayer(world)
		if err := thereAndBack(ctx, layer); err != nil {
			return err
		}
		before, err := switchyard.ClipGradients(ctx, 0.5, layer)
		if err != nil {
			return err
		}
		after, err := switchyard.GradNorm(ctx, layer)
		if err != nil {
			return err
		}
		if world.Rank() == 0 {
			fmt.Printf("clipped: %v, norm now: %.2f\n", before > 0.5, after)
		}
		return layer.Step(ctx, expert.NewSGD(0.1))
	})
	// Output: clipped: true, norm now: 0.50
}

// A step whose gradients are not finite is left out, on every rank.
func ExampleGradNorm() {
	ctx := context.Background()
	onRanks(2, func(world *switchyard.World) error {
		layer, adam := smallLayer(world), expert.NewAdam(0.01)
		for step := range 2 {
			if err := thereAndBack(ctx, layer); err != nil {
				return err
			}
			if step == 1 { // what a loss that grows without bound leads to
				for range 3 {
					if err := layer.ScaleGradients(ctx, math.MaxFloat32); err != nil {
						return err
					}
				}
			}
			norm, err := switchyard.GradNorm(ctx, layer) // the same on every rank
			if err != nil {
				return err
			}
			finite := norm-norm == 0
			if finite {
				err = layer.Step(ctx, adam)
			} else {
				err = layer.DiscardGradients()
			}
			if err != nil {
				return err
			}
			if world.Rank() == 0 {
				fmt.Printf("step %d taken: %v\n", step, finite)
			}
		}
		return nil
	})
	// Output:
	// step 0 taken: true
	// step 1 taken: false
}

// ClipGradients refuses such gradients itself, by an error that names the layer.
func ExampleLayer_DiscardGradients() {
	ctx := context.Background()
	onRanks(1, func(world *switchyard.World) error {
		layer := smallLayer(world)
		if err := thereAndBack(ctx, layer); err != nil {
			return err
		}
		for range 3 {
			if err := layer.ScaleGradients(ctx, math.MaxFloat32); err != nil {
				return err
			}
		}
		_, err := switchyard.ClipGradients(ctx, 1, layer)
		if errors.Is(err, alltoall.ErrNotFinite) {
			fmt.Println("a step is left out")
			return layer.DiscardGradients()
		}
		return err
	})
	// Output: a step is left out
}

// The gradients of two batches are a mean: each is scaled by a half.
func ExampleLayer_ScaleGradients() {
	ctx := context.Background()
	onRanks(2, func(world *switchyard.World) error {
		layer := smallLayer(world)
		norms := [2]float64{}
		for i, batches := range []int{1, 2} {
			for range batches {
				if err := thereAndBack(ctx, layer); err != nil {
					return err
				}
			}
			if err := layer.ScaleGradients(ctx, 1/float32(batches)); err != nil {
				return err
			}
			norm, err := layer.GradNorm(ctx)
			if err != nil {
				return err
			}
			norms[i] = norm
			if err := layer.DiscardGradients(); err != nil {
				return err
			}
		}
		if world.Rank() == 0 {
			fmt.Println("two equal batches have the mean of one:", norms[0] == norms[1])
		}
		return nil
	})
	// Output: two equal batches have the mean of one: true
}

// A forward pass of which no gradient is wanted is given up, and the next one may begin.
func ExampleLayer_Discard() {
	ctx := context.Background()
	onRanks(1, func(world *switchyard.World) error {
		layer := smallLayer(world)
		if _, err := layer.Forward(ctx, microBatches(0)[0]); err != nil {
			return err
		}
		if err := layer.Discard(); err != nil {
			return err
		}
		_, err := layer.Forward(ctx, microBatches(0)[1])
		fmt.Println(err)
		return nil
	})
	// Output: <nil>
}

// Only the gate is trained: the experts are those of an earlier training, say.
func ExampleLayer_SetFrozen() {
	ctx := context.Background()
	onRanks(2, func(world *switchyard.World) error {
		layer, err := switchyard.NewLayer(world, switchyard.Config{
			Dim: 2, Experts: 4, Group: 2, Router: router.TopK{K: 2}, Expert: expert.FFN{Hidden: 3},
		})
		if err != nil {
			return err
		}
		if err := layer.SetFrozen(ctx, param.Expert); err != nil {
			return err
		}
		if err := thereAndBack(ctx, layer); err != nil {
			return err
		}
		gradients, err := layer.Gradients(ctx) // every rank calls it
		if err != nil {
			return err
		}
		if world.Rank() == 0 {
			for _, g := range gradients {
				fmt.Println(g.Name, g.Shape)
			}
		}
		return layer.Step(ctx, expert.NewAdam(0.01))
	})
	// Output: gate.gate [2 4]
}

// Every rank gets all parameters, the experts of all ranks in one tensor.
func ExampleLayer_Parameters() {
	onRanks(2, func(world *switchyard.World) error {
		tensors, err := smallLayer(world).Parameters(context.Background())
		if err == nil && world.Rank() == 0 {
			for _, t := range tensors {
				fmt.Println(t.Name, t.Shape)
			}
		}
		return err
	})
	// Output:
	// gate.gate [2 4]
	// expert.w1 [4 2 3]
	// expert.b1 [4 3]
	// expert.w2 [4 3 2]
	// expert.b2 [4 2]
}

// Another layer begins with the parameters of the first. For files see package checkpoint.
func ExampleLayer_Load() {
	ctx, x := context.Background(), microBatches(0)[0]
	onRanks(2, func(world *switchyard.World) error {
		teacher, pupil := smallLayer(world), smallLayer(world) // with values of their own
		tensors, err := teacher.Parameters(ctx)
		if err != nil {
			return err
		}
		if err := pupil.Load(tensors); err != nil {
			return err
		}
		want, err := teacher.Eval(ctx, x)
		if err != nil {
			return err
		}
		got, err := pupil.Eval(ctx, x)
		if err == nil && world.Rank() == 0 {
			fmt.Println("same answers:", got.Data[0] == want.Data[0])
		}
		return err
	})
	// Output: same answers: true
}

// The state of a rank is its part of a checkpoint: the gate, its experts, what the optimizer keeps
// (SGD without momentum nothing), and counters. Of what several ranks hold, one is the writer.
func ExampleLayer_State() {
	ctx := context.Background()
	onRanks(2, func(world *switchyard.World) error {
		layer, sgd := smallLayer(world), expert.NewSGD(0.1)
		if err := thereAndBack(ctx, layer); err != nil {
			return err
		}
		if err := layer.Step(ctx, sgd); err != nil {
			return err
		}
		state, err := layer.State(sgd) // for checkpoint.Saver.Save
		if err == nil && world.Rank() == 1 {
			for _, e := range state.Entries {
				fmt.Println(e.Name, e.Shape, e.Writer)
			}
		}
		return err
	})
	// Output:
	// gate.gate [2 4] true
	// experts.2.w1 [2 3] true
	// experts.2.b1 [3] true
	// experts.2.w2 [3 2] true
	// experts.2.b2 [2] true
	// experts.3.w1 [2 3] true
	// experts.3.b1 [3] true
	// experts.3.w2 [3 2] true
	// experts.3.b2 [2] true
	// counters.steps [] false
}

// What a trainer logs of a layer after each step.
func ExampleLayer_Stats() {
	onRanks(2, func(world *switchyard.World) error {
		layer := smallLayer(world)
		if _, err := layer.Eval(context.Background(), microBatches(0)[0]); err != nil {
			return err
		}
		s := layer.Stats()
		choices, load := 0, 0
		for _, n := range s.Choices {
			choices += n
		}
		for _, n := range s.Load {
			load += n
		}
		sum := []float32{float32(load)}
		if err := world.Comm().AllReduce(context.Background(), sum); err != nil {
			return err
		}
		if world.Rank() == 1 {
			fmt.Printf("%d tokens here made %d choices; experts from %d on; rows of all experts: %v\n",
				s.Tokens, choices, s.FirstExpert, sum[0])
		}
		return nil
	})
	// Output: 2 tokens here made 2 choices; experts from 2 on; rows of all experts: 4
}

// The last two rows of the batch of rank 1 are padding: they take no capacity and get zeros.
func ExampleLayer_ForwardBatch() {
	ctx := context.Background()
	onRanks(2, func(world *switchyard.World) error {
		layer := smallLayer(world)
		x := blas32.General{Rows: 4, Cols: 2, Stride: 2, Data: []float32{1, 2, 3, 4, 5, 6, 7, 8}}
		info := router.Batch{}
		if world.Rank() == 1 {
			info.Padding = []bool{false, false, true, true}
		}
		y, err := layer.ForwardBatch(ctx, x, info)
		if err != nil {
			return err
		}
		if world.Rank() == 1 {
			fmt.Println(layer.Stats().Padding, "of", y.Rows, "rows are padding:", y.Data[4:])
		}
		_, err = layer.Backward(ctx, y)
		return err
	})
	// Output: 2 of 4 rows are padding: [0 0 0 0]
}

// Gates are told which batch of an evaluation they route. Replay needs it.
func ExampleLayer_EvalBatch() {
	onRanks(1, func(world *switchyard.World) error {
		layer := smallLayer(world)
		for i, x := range microBatches(0) {
			if _, err := layer.EvalBatch(context.Background(), x, router.Batch{Micro: i}); err != nil {
				return err
			}
		}
		fmt.Println(layer.Stats().Tokens, "tokens in the last batch")
		return nil
	})
	// Output: 2 tokens in the last batch
}

// The operations of a forward pass, in the order in which they are issued. Spans has their times.
func ExampleLayer_Observe() {
	onRanks(2, func(world *switchyard.World) error {
		layer := smallLayer(world)
		if world.Rank() == 0 {
			layer.Observe(func(pass schedule.Pass, line schedule.Timeline) {
				fmt.Println(pass, "of pass", line.Number)
				for _, task := range line.Graph.Tasks {
					fmt.Println(task.Op)
				}
			})
		}
		_, err := layer.Eval(context.Background(), microBatches(0)[0])
		return err
	})
	// Output:
	// forward of pass 1
	// dispatch
	// shared
	// expert
	// combine
}

// A program that chooses the number of chunks by itself: up to four here.
func ExampleLayer_SetDegree() {
	onRanks(2, func(world *switchyard.World) error {
		layer, err := switchyard.NewLayer(world, switchyard.Config{
			Dim: 2, Experts: 8, Group: 2, Overlap: switchyard.Overlap{Degree: 4},
			Router: router.TopK{K: 2}, Expert: expert.FFN{Hidden: 3},
		})
		if err != nil {
			return err
		}
		if err := layer.SetDegree(2, 1); err != nil {
			return err
		}
		if err := thereAndBack(context.Background(), layer); err != nil {
			return err
		}
		if world.Rank() == 0 {
			o := layer.Stats().Overlap
			fmt.Printf("forward in %d chunks, backward in %d\n", o.Forward, o.Backward)
		}
		return nil
	})
	// Output: forward in 2 chunks, backward in 1
}

// All tokens of both ranks choose expert 0, which rank 0 hosts. Rank 1 computes half of its rows.
func ExampleConfig_balance() {
	onRanks(2, func(world *switchyard.World) error {
		layer, err := switchyard.NewLayer(world, switchyard.Config{
			Dim: 2, Experts: 4, Group: 1, Balance: balance.Config{When: balance.Always},
			Router: router.Forced{Route: func(int) []router.ExpertID { return []router.ExpertID{0} }},
			Expert: expert.FFN{Hidden: 3},
		})
		if err != nil {
			return err
		}
		if err := thereAndBack(context.Background(), layer); err != nil {
			return err
		}
		if world.Rank() == 0 {
			s := layer.Stats().Balance
			fmt.Printf("rows of the busiest rank: %.1f times the mean, and %.1f after sharing\n", s.RowsBefore, s.RowsAfter)
		}
		return nil
	})
	// Output: rows of the busiest rank: 2.0 times the mean, and 1.0 after sharing
}
