package switchyard_test

import (
	"context"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
)

// A layer of four experts takes one training step. Started by a launcher, each rank would do this with its own
// tokens; here one rank is alone.
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
