package switchyard_test

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// microBatches are four batches of a rank: two tokens of two columns each.
func microBatches(rank int) (list [4]blas32.General) {
	for m := range list {
		list[m] = blas32.General{Rows: 2, Cols: 2, Stride: 2}
		for i := range 4 {
			list[m].Data = append(list[m].Data, float32((3*i+7*m+5*rank)%11)-5)
		}
	}
	return list
}

// train takes a step of four batches on two ranks, forward and back as step says, and returns the
// parameters after it.
func train(step func(ctx context.Context, l *switchyard.Layer, x [4]blas32.General)) (parameters []float32) {
	ctx, ranks := context.Background(), sync.WaitGroup{}
	for _, end := range inproc.New(2) {
		ranks.Go(func() {
			world := switchyard.NewWorld(end)
			defer world.Close()
			layer, err := switchyard.NewLayer(world, switchyard.Config{
				Dim: 2, Experts: 4, Group: 2, MicroBatches: 4,
				Router: router.TopK{K: 2}, Expert: expert.SwiGLU{Hidden: 4},
			})
			check(err)
			step(ctx, layer, microBatches(int(world.Rank())))
			check(layer.Step(ctx, expert.NewSGD(0.1)))
			tensors, err := layer.Parameters(ctx)
			check(err)
			if world.Rank() == 0 {
				for _, t := range tensors {
					parameters = append(parameters, t.Data...)
				}
			}
		})
	}
	ranks.Wait()
	return parameters
}

// oneAfterAnother is for comparison.
func oneAfterAnother(ctx context.Context, l *switchyard.Layer, x [4]blas32.General) {
	for _, x := range x {
		y, err := l.Forward(ctx, x)
		check(err)
		_, err = l.Backward(ctx, y) // the gradient of |y|²/2 is y
		check(err)
	}
}

// back takes a pass back, and gives its memory back.
func back(ctx context.Context, p *switchyard.Pass) {
	_, err := p.Backward(ctx, p.Output())
	check(err)
	check(p.Release())
}

// The schedule of the first of two pipeline stages, 1F1B: two batches go forward, and then each
// goes back before the next one goes forward. The parameters have the bits of one after another.
func ExampleLayer_ForwardPass() {
	oneFOneB := func(ctx context.Context, l *switchyard.Layer, x [4]blas32.General) {
		var inFlight []*switchyard.Pass
		for _, x := range x {
			p, err := l.ForwardPass(ctx, x, router.Batch{})
			check(err)
			if inFlight = append(inFlight, p); len(inFlight) == 2 {
				back(ctx, inFlight[0])
				inFlight = inFlight[1:]
			}
		}
		back(ctx, inFlight[0])
	}
	fmt.Println("same bits:", slices.Equal(train(oneFOneB), train(oneAfterAnother)))
	// Output: same bits: true
}

// Two goroutines take two batches each: the experts compute one while the rows of another travel.
// Passes are made before, in the same order on every rank.
func ExampleLayer_NewPass() {
	twoAtATime := func(ctx context.Context, l *switchyard.Layer, x [4]blas32.General) {
		var passes [4]*switchyard.Pass
		for m := range passes {
			var err error
			passes[m], err = l.NewPass()
			check(err)
		}
		var both sync.WaitGroup
		for first := range 2 {
			both.Go(func() {
				for m := first; m < 4; m += 2 {
					_, err := passes[m].Forward(ctx, x[m], router.Batch{Micro: m})
					check(err)
					back(ctx, passes[m])
				}
			})
		}
		both.Wait()
	}
	fmt.Println("same bits:", slices.Equal(train(twoAtATime), train(oneAfterAnother)))
	// Output: same bits: true
}

// Four batches go forward and keep nothing; each is run again shortly before it goes back.
func ExamplePass_Drop() {
	recomputed := func(ctx context.Context, l *switchyard.Layer, x [4]blas32.General) {
		var passes [4]*switchyard.Pass
		for m := range x {
			var err error
			passes[m], err = l.ForwardPass(ctx, x[m], router.Batch{})
			check(err)
			check(passes[m].Drop()) // its output has gone to the next layer
		}
		for m, p := range passes {
			_, err := p.Forward(ctx, x[m], router.Batch{})
			check(err)
			back(ctx, p)
		}
	}
	fmt.Println("same bits:", slices.Equal(train(recomputed), train(oneAfterAnother)))
	// Output: same bits: true
}

// Requests are evaluated beside each other, each in a pass of its own.
func ExamplePass_Eval() {
	world, err := switchyard.Join(context.Background(), switchyard.JoinConfig{Size: 1})
	check(err)
	defer world.Close()
	layer, err := switchyard.NewLayer(world, switchyard.Config{
		Dim: 2, Experts: 4, Router: router.Uniform{K: 1}, Expert: expert.Identity{},
	})
	check(err)
	requests, answers := microBatches(0), [4]float32{}
	var all sync.WaitGroup
	for i, x := range requests {
		p, err := layer.NewPass()
		check(err)
		all.Go(func() {
			y, err := p.Eval(context.Background(), x, router.Batch{})
			check(err)
			answers[i] = y.Data[0]
			check(p.Release())
		})
	}
	all.Wait()
	fmt.Println(answers, layer.Stats().Tokens)
	// Output: [-5 2 -2 5] 2
}
