package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/dispatch"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// Each of two ranks brings two tokens of one column and hosts two of four experts; expert e answers
// e times its row. The loss is the sum of all outputs.
func Example() {
	lines := make([]string, 2)
	eachRank(func(ctx context.Context, t transport.Transport) error {
		d, err := dispatch.New(ctx, t, dispatch.Config{Dim: 1, Experts: 4})
		if err != nil {
			return err
		}
		x := column(float32(10*t.Rank()+1), float32(10*t.Rank()+2))
		pass, err := d.Dispatch(ctx, x, []int32{0, 3, 1, 2}, []float32{0.5, 0.5, 0.25, 0.75})
		if err != nil {
			return err
		}
		defer pass.Release()
		rows := fmt.Sprint(pass.Rows().Data)
		y, err := pass.Combine(ctx, scaled(d, pass, pass.Rows()))
		if err != nil {
			return err
		}
		danswers, dweights, err := pass.CombineBackward(ctx, column(1, 1))
		if err != nil {
			return err
		}
		dx, err := pass.DispatchBackward(ctx, scaled(d, pass, danswers))
		lines[t.Rank()] = fmt.Sprintf("rank %d: rows %s ending at %v, y %v, dx %v, dweights %v",
			t.Rank(), rows, pass.Ends(), y.Data, dx.Data, dweights)
		return err
	})
	fmt.Println(lines[0])
	fmt.Println(lines[1])
	// Output:
	// rank 0: rows [1 11 2 12] ending at [2 4], y [1.5 3.5], dx [1.5 1.75], dweights [0 3 2 4]
	// rank 1: rows [2 12 1 11] ending at [2 4], y [16.5 21], dx [1.5 1.75], dweights [0 33 12 24]
}

// eachRank runs do on two ranks of this process.
func eachRank(do func(ctx context.Context, t transport.Transport) error) {
	var ranks sync.WaitGroup
	for _, t := range inproc.New(2) {
		ranks.Go(func() {
			defer t.Close()
			if err := do(context.Background(), t); err != nil {
				fmt.Println(err)
			}
		})
	}
	ranks.Wait()
}

func column(data ...float32) blas32.General {
	return blas32.General{Rows: len(data), Cols: 1, Stride: 1, Data: data}
}

// scaled is each expert's number times its rows of m, which is how the experts answer, and how
// gradients go back through them.
func scaled(d *dispatch.Dispatcher, p *dispatch.Pass, m blas32.General) blas32.General {
	expert, _ := d.Hosted()
	scaled, row := column(make([]float32, m.Rows)...), 0
	for _, end := range p.Ends() {
		for ; row < end; row++ {
			scaled.Data[row] = float32(expert) * m.Data[row]
		}
		expert++
	}
	return scaled
}

// A token that names an expert that there is not ends the batch on every rank; the next can begin.
func ExampleDispatcher_Dispatch() {
	errs := make([]error, 2)
	eachRank(func(ctx context.Context, t transport.Transport) error {
		d, err := dispatch.New(ctx, t, dispatch.Config{Dim: 1, Experts: 4})
		if err != nil {
			return err
		}
		_, errs[t.Rank()] = d.Dispatch(ctx, column(1), []int32{int32(4 * t.Rank())}, []float32{1})
		pass, err := d.Dispatch(ctx, column(1), []int32{-1}, []float32{0})
		if err != nil {
			return err
		}
		pass.Release()
		return nil
	})
	fmt.Println(errors.Is(errs[0], alltoall.ErrRefused), transport.CulpritOf(errs[0]))
	_, why, _ := strings.Cut(errs[1].Error(), "refused: ")
	fmt.Println(why)
	// Output:
	// true 1
	// token 0, choice 0: expert 4, want 0 to 3, or -1 for none
}

// Rank 1 alone hosts experts.
func ExampleNew() {
	hosted := make([]string, 2)
	eachRank(func(ctx context.Context, t transport.Transport) error {
		d, err := dispatch.New(ctx, t, dispatch.Config{Dim: 1, Experts: 3, Hosted: []int{0, 3}})
		if err != nil {
			return err
		}
		begin, end := d.Hosted()
		hosted[t.Rank()] = fmt.Sprintf("rank %d hosts %d to %d", t.Rank(), begin, end)
		return nil
	})
	fmt.Println(hosted)
	// Output: [rank 0 hosts 0 to 0 rank 1 hosts 0 to 3]
}

// Every fault is named.
func ExampleConfig_Validate() {
	fmt.Println(dispatch.Config{Dim: 8, Experts: 4, Hosted: []int{2, 1}, MaxRows: -1}.Validate(2))
	// Output:
	// dispatch: Config.Hosted: Hosted has the sum 3, want the 4 experts
	// dispatch: Config.MaxRows is -1, want 0 to 2147483647
}

// Two passes at the same time: the second waits for nothing of the first.
func ExampleDispatcher_NewPass() {
	sums := make([][2]float32, 2)
	eachRank(func(ctx context.Context, t transport.Transport) error {
		d, err := dispatch.New(ctx, t, dispatch.Config{Dim: 1, Experts: 2})
		if err != nil {
			return err
		}
		var passes [2]*dispatch.Pass
		for i := range passes { // in the same order on every rank
			if passes[i], err = d.NewPass(); err != nil {
				return err
			}
		}
		var group sync.WaitGroup
		errs := make([]error, len(passes))
		for i, pass := range passes { // in any order
			group.Go(func() {
				x := column(float32(10*i + 1))
				if errs[i] = pass.Dispatch(ctx, x, []int32{0, 1}, []float32{1, 1}); errs[i] != nil {
					return
				}
				defer pass.Release()
				y, err := pass.Combine(ctx, pass.Rows()) // both experts answer with their rows
				if errs[i] = err; err == nil {
					sums[t.Rank()][i] = y.Data[0]
				}
			})
		}
		group.Wait()
		return errors.Join(errs...)
	})
	fmt.Println(sums)
	// Output: [[2 22] [2 22]]
}

// A tenth of the rows travel in training, and all of them in an evaluation.
func ExamplePass_DispatchExact() {
	eachRank(func(ctx context.Context, t transport.Transport) error {
		d, err := dispatch.New(ctx, t, dispatch.Config{
			Dim: 1, Experts: 1, Compression: &lsh.Config{Rate: 0.1}, // rank 1 hosts the expert
		})
		if err != nil {
			return err
		}
		x, indices, weights := column(make([]float32, 50)...), make([]int32, 50), make([]float32, 50)
		train, err := d.Dispatch(ctx, x, indices, weights)
		if err != nil {
			return err
		}
		defer train.Release()
		eval, err := d.NewPass()
		if err != nil {
			return err
		}
		defer eval.Release()
		if err := eval.DispatchExact(ctx, x, indices, weights); err != nil {
			return err
		}
		if t.Rank() == 1 {
			fmt.Println(train.Rows().Rows, eval.Rows().Rows)
		}
		return nil
	})
	// Output: 10 100
}
