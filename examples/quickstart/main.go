// Command quickstart trains one layer on four ranks, which are goroutines of this process.
package main

import (
	"context"
	"fmt"
	"log"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func main() {
	ctx, ranks := context.Background(), sync.WaitGroup{}
	for _, end := range inproc.New(4) { // separate processes call switchyard.Join instead
		ranks.Go(func() {
			world := switchyard.NewWorld(end)
			layer, err := switchyard.NewLayer(world, switchyard.Config{
				Dim: 3, Experts: 8, Group: 2, // tokens in which capacity is counted
				Router: router.TopK{K: 2}, Expert: expert.SwiGLU{Hidden: 16},
			})
			check(err)
			x := blas32.General{Rows: 2, Cols: 3, Stride: 3, Data: []float32{1, 0, 2, 0, 3, 4}}
			adam := expert.NewAdam(0.01)
			for step := range 5 {
				y, err := layer.Forward(ctx, x)
				check(err)
				fmt.Printf("step %d, rank %d: y = %.2f …\n", step, world.Rank(), y.Data[0])
				_, err = layer.Backward(ctx, y) // the gradient of |y|²/2 is y
				check(err)
				check(layer.Step(ctx, adam))
			}
			check(world.Close())
		})
	}
	ranks.Wait()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
