package links_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// Two nodes of two ranks measure their links; all get the same costs, which can be kept in a file.
func ExampleMeasure() {
	measured := make([]links.Measured, 4)
	var ranks sync.WaitGroup
	for r, t := range inproc.New(4) {
		ranks.Go(func() {
			defer t.Close()
			var err error
			measured[r], err = links.Measure(context.Background(), t, alltoall.Nodes(4, 2))
			if err != nil {
				panic(err)
			}
		})
	}
	ranks.Wait()
	fmt.Println(measured[0].Between == measured[3].Between, measured[0].Links.Validate())
	// Output: true <nil>
}

// The link between each two ranks; which of them are near each other follows from the times.
func ExampleMeasurePairs() {
	costs := make([][][]float64, 2)
	var ranks sync.WaitGroup
	for r, t := range inproc.New(2) {
		ranks.Go(func() {
			defer t.Close()
			pairs, err := links.MeasurePairs(context.Background(), t)
			if err != nil {
				panic(err)
			}
			costs[r] = pairs.Cost(1 << 20)
		})
	}
	ranks.Wait()
	fmt.Println(costs[0][0][1] == costs[1][1][0])
	// Output: true
}
