// Dispatch trains nothing: it shows a step of a program that has a router and experts of its own,
// and leaves to the library what travels (step.go). Four ranks of this process take the step; the
// gradients are compared with finite differences, and all results with those of a switchyard.Layer
// with the same router and experts (layer.go), to the bit.
//
//	go run ./examples/dispatch
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sync"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall/dispatch"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

const usage = `Takes a step of a program that has a router and experts of its own, on four ranks of this process:
what travels is left to package alltoall/dispatch. The gradients are compared with finite
differences, and all results with those of a switchyard.Layer, to the bit.

usage: go run ./examples/dispatch

The exit code is 0 if all agrees, 1 if something does not, and 2 for a wrong command line.
`

const ranks, tokens, dim, experts, k = 4, 16, 8, 6, 2

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program: 0 if all is as it should be, 1 if something is not, 2 for a wrong command
// line.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("dispatch", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return 0
	} else if err != nil {
		fmt.Fprintln(stderr, "dispatch:", err)
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "dispatch: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	if err := compare(context.Background(), stdout); err != nil {
		fmt.Fprintln(stderr, "dispatch:", err)
		return 1
	}
	return 0
}

// result is what one rank finds: its part of the slope of the loss, by its gradients and by finite
// differences, and whether a layer has the same bits.
type result struct {
	slope, difference float64
	same              bool
}

// compare runs all ranks, and prints what they find.
func compare(ctx context.Context, stdout io.Writer) error {
	results, errs := make([]result, ranks), make([]error, ranks)
	var group sync.WaitGroup
	for r, end := range inproc.New(ranks) {
		group.Go(func() {
			world := switchyard.NewWorld(end)
			results[r], errs[r] = onRank(ctx, world)
			errs[r] = errors.Join(errs[r], world.Close()) // else the others would wait
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	slope, difference := 0.0, 0.0
	for r, of := range results {
		slope += of.slope
		difference += of.difference
		if !of.same {
			return fmt.Errorf("rank %d: the bits are not those of a layer", r)
		}
	}
	fmt.Fprintf(stdout, "slope of the loss along a direction: %.5f by the gradients, %.5f by finite differences\n", slope, difference)
	if math.Abs(slope-difference) > 1e-3*math.Abs(slope) {
		return errors.New("they differ by more than a thousandth")
	}
	fmt.Fprintln(stdout, "y, dx and the gradients of router and experts have the bits of switchyard.Layer")
	return nil
}

// onRank takes the step, then the same in a layer, and the loss a little to both sides.
func onRank(ctx context.Context, world *switchyard.World) (found result, err error) {
	everyone := []transport.Rank{0, 1, 2, 3}
	view, err := world.View(everyone)
	if err != nil {
		return found, err
	}
	d, err := dispatch.New(ctx, view, dispatch.Config{Dim: dim, Experts: experts})
	if err != nil {
		return found, err
	}
	first, end := d.Hosted()
	x, m := batch(int(world.Rank())), newModel(first, end)
	step, err := m.step(ctx, d, x)
	if err != nil {
		return found, err
	}
	layer, err := newModel(first, end).inLayer(ctx, world, x)
	if err != nil {
		return found, err
	}
	found.same = step.loss == layer.loss && slices.Equal(step.y, layer.y) && slices.Equal(step.dx, layer.dx) &&
		slices.Equal(step.dgate, layer.dgate) && slices.Equal(step.dexperts, layer.dexperts)
	found.slope = slope(x.Data, step.dx) + slope(m.gate, step.dgate) + slope(m.experts, step.dexperts)

	const h = 4e-3
	for _, side := range []float64{h, -h} {
		x, moved := batch(int(world.Rank())), newModel(first, end)
		for _, list := range [][]float32{x.Data, moved.gate, moved.experts} {
			move(list, side)
		}
		moved.choices = m.choices // a token at the edge of another expert would make the loss jump
		step, err := moved.step(ctx, d, x)
		if err != nil {
			return found, err
		}
		found.difference += step.loss / (2 * side)
	}
	return found, nil
}

// direction is that in which parameters and tokens are moved: element i of a list by direction(i).
func direction(i int) float64 { return math.Sin(float64(3*i + 1)) }

func move(list []float32, by float64) {
	for i := range list {
		list[i] += float32(by * direction(i))
	}
}

// slope is the change of the loss along the direction, by the gradient of a list.
func slope(list, gradient []float32) (sum float64) {
	for i := range list {
		sum += float64(gradient[i]) * direction(i)
	}
	return sum
}
