package switchyard_test

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// A layer of four experts is trained for 50 steps. Started by a launcher, each rank would do this
// with its own tokens; here one rank is alone.
func Example() {
	ctx := context.Background()
	world, err := switchyard.Join(ctx, switchyard.JoinConfig{Size: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer world.Close()

	layer, err := switchyard.NewLayer(world, switchyard.Config{
		Dim: 8, Experts: 4,
		Router: router.TopK{K: 2, CapacityFactor: 1.25, Losses: []router.Loss{router.Balance(0.01)}},
		Expert: expert.SwiGLU{Hidden: 16},
		Group:  4, // tokens in which capacity is counted, on any number of ranks
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	x := blas32.General{Rows: 3, Cols: 8, Stride: 8, Data: make([]float32, 3*8)}
	for i := range x.Data {
		x.Data[i] = float32(i%5) - 2
	}
	optimizer := expert.NewAdam(0.01)
	before, after := 0.0, 0.0
	for step := range 50 {
		y, err := layer.Forward(ctx, x)
		if err != nil {
			fmt.Println(err)
			return
		}
		loss, dy := towards(y, 1)
		if step == 0 {
			before = loss
		}
		after = loss
		if _, err := layer.Backward(ctx, dy); err != nil {
			fmt.Println(err)
			return
		}
		if err := layer.Step(ctx, optimizer); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println("routed:", layer.Stats().Tokens, "tokens; learned:", after < before/10)
	// Output: routed: 3 tokens; learned: true
}

// towards is the squared distance of y from a matrix full of target, and its gradient.
func towards(y blas32.General, target float32) (loss float64, dy blas32.General) {
	dy = blas32.General{Rows: y.Rows, Cols: y.Cols, Stride: y.Cols, Data: make([]float32, len(y.Data))}
	for i, v := range y.Data {
		dy.Data[i] = 2 * (v - target)
		loss += float64(v-target) * float64(v-target)
	}
	return loss, dy
}

// Three ranks without a launcher, here of one process, join and gather their numbers.
func ExampleJoin() {
	addr, gathered := loopback.Addr(), make([][]byte, 3)
	var ranks sync.WaitGroup
	for r := range gathered {
		ranks.Go(func() {
			world, err := switchyard.Join(context.Background(), switchyard.JoinConfig{
				Rank: transport.Rank(r), Size: 3, Addr: addr, Job: "demo",
			})
			if err != nil {
				panic(err)
			}
			defer world.Close()
			gathered[r] = make([]byte, 3)
			if err := world.Comm().AllGather(context.Background(), gathered[r], []byte{byte(r)}); err != nil {
				panic(err)
			}
		})
	}
	ranks.Wait()
	fmt.Println(gathered)
	// Output: [[0 1 2] [0 1 2] [0 1 2]]
}

// Four goroutines are the ranks of a world. Each brings one token, and rank 0's expert answers all
// of them with what it gets.
func ExampleNewWorld() {
	answers := make([]float32, 4)
	var ranks sync.WaitGroup
	for r, end := range inproc.New(4) {
		ranks.Go(func() {
			world := switchyard.NewWorld(end)
			defer world.Close()
			layer, err := switchyard.NewLayer(world, switchyard.Config{
				Dim: 1, Experts: 4, Group: 1, Router: router.Hot{K: 1, Share: 1}, Expert: expert.Identity{},
			})
			if err != nil {
				panic(err)
			}
			token := blas32.General{Rows: 1, Cols: 1, Stride: 1, Data: []float32{float32(r + 1)}}
			y, err := layer.Eval(context.Background(), token)
			if err != nil {
				panic(err)
			}
			answers[r] = y.Data[0]
		})
	}
	ranks.Wait()
	fmt.Println(answers)
	// Output: [1 2 3 4]
}

// A layer on one rank and on two: the same parameters after a step, to the bit.
func ExampleNewLayer() {
	tokens := []float32{1, 2, 3, 4, 5, 6, 7, 8} // four tokens of two columns, in groups of two
	fmt.Println(slices.Equal(trained(1, tokens), trained(2, tokens)))
	// Output: true
}

// trained returns the parameters of a layer after one step on size ranks.
func trained(size int, tokens []float32) []float32 {
	results := make([][]float32, size)
	var ranks sync.WaitGroup
	for r, end := range inproc.New(size) {
		ranks.Go(func() {
			world := switchyard.NewWorld(end)
			defer world.Close()
			mine := tokens[r*len(tokens)/size : (r+1)*len(tokens)/size]
			results[r] = step(world, blas32.General{Rows: len(mine) / 2, Cols: 2, Stride: 2, Data: mine})
		})
	}
	ranks.Wait()
	return results[0]
}

func step(world *switchyard.World, x blas32.General) (parameters []float32) {
	ctx := context.Background()
	layer, err := switchyard.NewLayer(world, switchyard.Config{
		Dim: 2, Experts: 3, Group: 2, Router: router.TopK{K: 2}, Expert: expert.FFN{Hidden: 4},
	})
	if err != nil {
		panic(err)
	}
	y, err := layer.Forward(ctx, x)
	if err != nil {
		panic(err)
	}
	if _, err := layer.Backward(ctx, y); err != nil {
		panic(err)
	}
	if err := layer.Step(ctx, expert.NewSGD(0.1)); err != nil {
		panic(err)
	}
	tensors, err := layer.Parameters(ctx)
	if err != nil {
		panic(err)
	}
	for _, t := range tensors {
		parameters = append(parameters, t.Data...)
	}
	return parameters
}
