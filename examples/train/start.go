package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/internal/interrupt"
	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/shaped"
)

// failure is a rank's error.
type failure struct {
	rank transport.Rank
	err  error
}

func (f failure) Error() string { return fmt.Sprintf("rank %d: %v", f.rank, f.err) }
func (f failure) Unwrap() error { return f.err }

// runGoroutines runs all ranks in this process. A rank that fails closes its end, which ends the
// others.
func runGoroutines(ctx context.Context, o options, s screen) error {
	errs := make([]error, o.ranks)
	var wg sync.WaitGroup
	for r, end := range inproc.New(o.ranks) {
		wg.Go(func() {
			errs[r] = runWorld(ctx, switchyard.NewWorld(behindLink(end, o.link)), o, s)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// behindLink puts a rank behind a link of rate Mbit/s; 0 leaves it as it is.
func behindLink(end transport.Transport, rate int) transport.Transport {
	if rate == 0 {
		return end
	}
	return shaped.New(end, shaped.Config{Bandwidth: int64(rate) * 1e6 / 8})
}

// launched reports whether a launcher started this process as a rank of a job, which over MPI it
// always is.
func launched(o options) (bool, error) {
	if o.transport == mpiTransport {
		return true, nil
	}
	place, err := rendezvous.Detect(rendezvous.Process{}, os.Getenv)
	return place.Source != alone, err
}

// alone is what rendezvous calls a process that no launcher started.
const alone = "alone"

// runLaunched runs the one rank that a launcher started this process as.
func runLaunched(ctx context.Context, o options, s screen) error {
	world, err := o.joinUnlessAsked(ctx)
	if err != nil {
		if place, unknown := rendezvous.Detect(rendezvous.Process{}, os.Getenv); unknown == nil {
			err = failure{place.Rank, err}
		}
		return err
	}
	return runWorld(ctx, world, o, s)
}

// joinUnlessAsked is join, but gives up if the job is asked to end before all ranks have met.
func (o options) joinUnlessAsked(ctx context.Context) (*switchyard.World, error) {
	joining, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-o.asked:
			cancel(interrupt.Signalled{Signal: syscall.SIGTERM})
		case <-joining.Done():
		}
	}()
	world, err := join(joining, o)
	if why := context.Cause(joining); err != nil && why != nil {
		err = why
	}
	return world, err
}

// runWorld runs one rank and closes its world, which says farewell to the others.
func runWorld(ctx context.Context, world *switchyard.World, o options, s screen) error {
	err := runRank(ctx, world, o, s)
	if closed := world.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return failure{world.Rank(), err}
	}
	return nil
}

// startedByTrain is set in the environment of ranks that runProcesses has started.
const startedByTrain = "TRAIN_STARTED_BY_TRAIN"

// runProcesses starts this program once for each rank, and passes on what the ranks print.
func runProcesses(ctx context.Context, o options, args []string, stdout, stderr io.Writer) error {
	drawn := new(bool)
	cfg := launch.Config{Ranks: o.ranks, Stdout: stdout, Stderr: stderr, Env: append(os.Environ(), startedByTrain+"=1")}
	if newScreen(stdout, o.progress).bar {
		args = append(args[:len(args):len(args)], "-progress="+progressBar)
		cfg.Stdout, cfg.Stderr = relay{stdout, drawn}, relay{stderr, drawn}
	}
	var err error
	if cfg.Command, err = launch.Self(args...); err != nil {
		return err
	}
	// An interrupt is passed on as one, so that the ranks end by themselves; those that do not are
	// killed.
	const patience = 5 * time.Second
	signals := make(chan os.Signal, 2)
	cfg.Signals = signals
	all, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go func() {
		select {
		case <-o.asked:
			signals <- syscall.SIGTERM
		case <-all.Done():
		}
	}()
	defer context.AfterFunc(ctx, func() {
		signals <- os.Interrupt
		time.AfterFunc(patience, cancel)
	})()
	return launch.Run(all, cfg)
}
