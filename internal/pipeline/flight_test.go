package pipeline

import (
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule"
)

// flight runs a pass of a number both ways, and returns all that it makes.
func flight(t *testing.T, path *Path, x *alltoall.Exchange, grads gradients.Pass, number uint64) (made [][]float32, err error) {
	rows, dy := random(number), random(number+100)
	own, err := batch.New(batch.Shape{Dim: dim, Experts: hosted, Train: true}, &batch.Pool{}, rows, router.Batch{})
	if err != nil {
		return nil, err
	}
	exchange := x.Pass(number)
	defer exchange.End()
	defer grads.End()
	p := &Pass{Number: number, Gradients: &grads}
	p.Handle, err = exchange.Begin(t.Context(), alltoall.Request{
		Counts: alltoall.Counts{Tokens: tokens, Leaves: 1, Rows: slices.Repeat([]int{perGate}, hosted)},
		Rows:   rows, Cut: path.Cut(Kind{Pass: schedule.Forward, Train: true}),
	})
	if err != nil {
		return nil, err
	}
	defer path.Release(p)
	answers, err := path.Forward(t.Context(), p, &own, &batch.Global{Tokens: []int{tokens}, Leaves: []int{1}})
	if err != nil {
		return nil, err
	}
	y, dx := blas32.General{Rows: tokens, Cols: dim, Stride: dim, Data: make([]float32, tokens*dim)}, random(0)
	p.Shared.AddTo(y)
	made = append(made, slices.Clone(answers.Data), y.Data)
	drows, err := path.Backward(t.Context(), p, dy, dy)
	if err != nil {
		return nil, err
	}
	p.Shared.AddGradientTo(dx)
	made = append(made, slices.Clone(drows.Data), dx.Data)
	grads.Do(func() {
		for _, set := range append(path.Experts.Params(), path.Experts.Shared.Params()) {
			made = append(made, slices.Clone(set.Grad.Total()))
		}
	})
	return made, nil
}

// TestPassesInFlight: passes on goroutines have the bits of each alone, in chunks too.
func TestPassesInFlight(t *testing.T) {
	const passes = 6
	for _, chunks := range []int{1, 3} {
		var computed countingLock
		path, exchange := pathOf(t, chunks, &computed)
		reducer := gradients.New(gradients.Config{
			Sets: parameters.Sets{Experts: path.Experts.Params(), Shared: path.Experts.Shared.Params()}, Turn: path.Turn,
		})
		var want, got [passes][][]float32
		var errs [passes]error
		for i := range passes {
			want[i], errs[i] = flight(t, path, exchange, reducer.Begin(uint64(i+1), gradients.Comms{}), uint64(i+1))
			require.NoError(t, errs[i])
		}
		for range 3 {
			var wg sync.WaitGroup
			for i := range passes {
				grads := reducer.Begin(uint64(i+1), gradients.Comms{})
				wg.Go(func() { got[i], errs[i] = flight(t, path, exchange, grads, uint64(i+1)) })
			}
			wg.Wait()
			for i := range passes {
				require.NoError(t, errs[i])
				require.Equal(t, want[i], got[i], "%d chunks, pass %d", chunks, i+1)
			}
		}
	}
}
