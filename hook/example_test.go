package hook_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/hook"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// load counts the rows of each expert. Hooks of passes that run at the same time may count at the
// same time.
type load []atomic.Int64

func (l load) count(_ context.Context, at hook.Call, _ blas32.General) error {
	first := 0
	for i, end := range at.Ends {
		l[at.Expert+i].Add(int64(end - first))
		first = end
	}
	return nil
}

// clip takes numbers to the range from −most to most.
func clip(most float32) hook.Func {
	return func(_ context.Context, _ hook.Call, rows blas32.General) error {
		for i := range rows.Rows {
			row := rows.Data[i*rows.Stride:][:rows.Cols]
			for j, v := range row {
				row[j] = min(max(v, -most), most)
			}
		}
		return nil
	}
}

// Two ranks count the rows of each expert as they come to it, and clip outliers before they leave.
// This is an evaluation: in training the gradients of clipped numbers would have to be set to 0 at
// Backward.AfterCombine.
func ExampleHooks() {
	counts := make(load, 4)
	eval := func(world *switchyard.World) error {
		layer, err := switchyard.NewLayer(world, switchyard.Config{
			Dim: 2, Experts: 4, Group: 2, Router: router.TopK{K: 2}, Expert: expert.SwiGLU{Hidden: 8},
			Hooks: hook.Hooks{Forward: hook.Points{BeforeDispatch: clip(3), AfterDispatch: counts.count}},
		})
		if err != nil {
			return err
		}
		x := blas32.General{Rows: 2, Cols: 2, Stride: 2, Data: []float32{1, -2, 3, 4000}}
		_, err = layer.Eval(context.Background(), x)
		return errors.Join(err, world.Close())
	}
	var ranks sync.WaitGroup
	for _, end := range inproc.New(2) {
		ranks.Go(func() {
			if err := eval(switchyard.NewWorld(end)); err != nil {
				fmt.Println(err)
			}
		})
	}
	ranks.Wait()
	rows := int64(0)
	for e := range counts {
		rows += counts[e].Load()
	}
	fmt.Println(rows, "rows of 4 tokens for 2 experts each")
	// Output: 8 rows of 4 tokens for 2 experts each
}
