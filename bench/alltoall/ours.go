package alltoall

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/peers"
	"github.com/switchyard-moe/switchyard/bench/internal/transports"
	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/transport"
)

// RankCommand is the command by which bench starts itself as ranks.
const RankCommand = "alltoall-rank"

// ours returns switchyard over the named transport as a contestant.
func ours(name string) (*contestant, error) {
	if !slices.Contains(transports.Names(), name) {
		return nil, fmt.Errorf("-transport %q: want one or more of %s", name, strings.Join(transports.Names(), ","))
	}
	self, err := launch.Self(RankCommand)
	if err != nil {
		return nil, err
	}
	command := func(dir string, ranks int, steps []step) ([]string, int) {
		args := append(slices.Clone(self), "-transport", name, "-ranks", fmt.Sprint(ranks), dir)
		args = append(args, stepArguments(steps)...)
		if name == transports.Inproc {
			return args, 1
		}
		if name == transports.MPI {
			return slices.Concat(peers.Mpirun(ranks), peers.SharedMemory(), args), 1
		}
		return args, ranks
	}
	return &contestant{who: harness.Name, transport: name, algorithm: "direct", command: command}, nil
}

// RunRank is the command of a process of ours: one rank, or all of them where they are goroutines.
func RunRank(ctx context.Context, args []string, _, stderr io.Writer) int {
	flags := flag.NewFlagSet(RankCommand, flag.ContinueOnError)
	flags.SetOutput(stderr)
	name := flags.String("transport", "", "transport")
	ranks := flags.Int("ranks", 0, "ranks of the job")
	if err := flags.Parse(args); err != nil {
		return harness.Misused
	}
	steps, err := parseSteps(flags.Args()[min(1, flags.NArg()):])
	if err != nil || flags.NArg() < 2 {
		fmt.Fprintf(stderr, "bench: %s is for bench itself: %v\n", RankCommand, err)
		return harness.Misused
	}
	ends, err := transports.Join(ctx, *name, *ranks)
	if err == nil {
		err = measureAll(ctx, flags.Arg(0), ends, steps)
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return harness.Failed
	}
	return 0
}

// measureAll runs the steps on all ranks of this process, writes their reports and closes them.
func measureAll(ctx context.Context, dir string, ends []transport.Transport, steps []step) error {
	errs := make([]error, len(ends))
	var wg sync.WaitGroup
	for i, t := range ends {
		wg.Go(func() { errs[i] = measureOne(ctx, dir, t, steps) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// measureOne closes t at once when it fails, so that ranks in this process do not wait for it.
func measureOne(ctx context.Context, dir string, t transport.Transport, steps []step) (err error) {
	defer func() { err = errors.Join(err, t.Close()) }()
	me := int(t.Rank())
	alloc := func(n int) []byte { return transport.Alloc(t, n) }
	timings, err := newRank(me, t.Size(), steps, alloc).measure(ctx, steps, transports.NewDirect(t).Exchange)
	if err != nil {
		return err
	}
	return writeReport(dir, me, report{version: harness.Version(), timings: timings})
}
