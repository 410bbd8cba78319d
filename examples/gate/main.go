// Gate shows a router of one's own: gate.go holds all of it, gate_test.go runs the conformance
// suite on it, and this file trains a layer with it on one rank.
//
//	go run ./examples/gate
package main

import (
	"context"
	"fmt"
	"os"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
)

func main() {
	if err := train(context.Background(), 200); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const dim, tokens, experts = 8, 64, 4

// train teaches the layer to turn each token around, and prints how far it is off and how many
// experts a token takes.
func train(ctx context.Context, steps int) error {
	world, err := switchyard.Join(ctx, switchyard.JoinConfig{Size: 1})
	if err != nil {
		return err
	}
	defer world.Close()
	layer, err := switchyard.NewLayer(world, switchyard.Config{
		Dim: dim, Experts: experts, Router: Threshold{At: 0.45}, Expert: expert.FFN{Hidden: 32}, Seed: 1,
	})
	if err != nil {
		return err
	}
	x, optimizer := batch(), expert.NewAdam(0.01)
	for step := range steps + 1 {
		y, err := layer.Forward(ctx, x)
		if err != nil {
			return err
		}
		loss, dy := turned(x, y)
		if step%(steps/4) == 0 {
			choices := 0
			for _, n := range layer.Stats().Choices {
				choices += n
			}
			fmt.Printf("step %3d: loss %.4f, %.2f experts a token\n", step, loss, float64(choices)/tokens)
		}
		if _, err := layer.Backward(ctx, dy); err != nil {
			return err
		}
		if err := layer.Step(ctx, optimizer); err != nil {
			return err
		}
	}
	return nil
}

// batch returns tokens that are easy to tell apart.
func batch() blas32.General {
	x := blas32.General{Rows: tokens, Cols: dim, Stride: dim, Data: make([]float32, tokens*dim)}
	for i := range x.Data {
		x.Data[i] = float32((i*i+3*i)%17)/8 - 1
	}
	return x
}

// turned is the mean squared distance of y from the rows of x back to front, and its gradient.
func turned(x, y blas32.General) (loss float64, dy blas32.General) {
	dy = blas32.General{Rows: y.Rows, Cols: y.Cols, Stride: y.Cols, Data: make([]float32, len(y.Data))}
	n := float32(len(y.Data))
	for t := range y.Rows {
		for c := range dim {
			off := y.Data[t*y.Stride+c] - x.Data[t*dim+dim-1-c]
			loss += float64(off) * float64(off) / float64(n)
			dy.Data[t*dim+c] = 2 * off / n
		}
	}
	return loss, dy
}
