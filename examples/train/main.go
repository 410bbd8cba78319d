// Command train is the main job: a byte-level GPT, whose every second block is a Switchyard
// mixture-of-experts layer, learns a text across ranks.
//
//	go run ./examples/train                             # four ranks as goroutines
//	go run ./examples/train -transport hybrid           # four processes that share memory
//	go run ./examples/train -transport tcp              # four over TCP; also shm, grpc, striped
//	go run ./examples/launch -n 4 -- go run ./examples/train
//	go run ./examples/train -save runs -resume runs     # stops and goes on
//
// The parameters that it ends with have the same bits on any number of ranks and over any
// transport. The model's dense parts are in examples/internal/gpt; trainer.go shows how a trainer
// uses the library, and saving.go how one saves and goes on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/switchyard-moe/switchyard/internal/interrupt"
	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/transport"
)

// The exit codes beside 0; package interrupt has those of a signal. That of a job that was asked to
// end and has saved is EX_TEMPFAIL of sysexits.h: it may be tried again.
const (
	failedCode = 1
	usageCode  = 2
	savedCode  = 75
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process around it; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		complain(stderr, err)
		fmt.Fprintln(stderr, "train: -h explains")
		return usageCode
	}
	if o.estimate {
		return conclude(ctx, o.printEstimate(stdout), stderr)
	}
	ctx, stop := o.signals(ctx)
	defer stop()
	isRank, err := launched(o)
	if err == nil && !isRank {
		err = o.outputs()
	}
	if err != nil {
		complain(stderr, err)
		return failedCode
	}
	return conclude(ctx, start(ctx, isRank, o, args, stdout, stderr), stderr)
}

// signals returns a context that ends when a signal is to end the program. With -save SIGTERM does
// not, but asks for it.
func (o *options) signals(ctx context.Context) (context.Context, func()) {
	if o.save == "" {
		return interrupt.Context(ctx, terminationDelay)
	}
	ctx, asked, stop := interrupt.Deferred(ctx)
	o.asked = asked
	return ctx, stop
}

// start runs the rank that this process is, or all ranks if no launcher has made it one.
func start(ctx context.Context, isRank bool, o options, args []string, stdout, stderr io.Writer) error {
	switch {
	case isRank:
		err := runLaunched(ctx, o, newScreen(stdout, o.progress))
		awaitInterrupt(ctx, err)
		return err
	case o.transport == inprocTransport:
		return runGoroutines(ctx, o, newScreen(stdout, o.progress))
	default:
		return runProcesses(ctx, o, args, stdout, stderr)
	}
}

// conclude prints what went wrong, if anything did, and returns the exit code. Of a signal one
// process of the job tells: the one that started the ranks, or rank 0 where something else did.
func conclude(ctx context.Context, err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	why, over := interrupt.Of(ctx)
	if over = over || errors.As(err, &why); over {
		if os.Getenv(startedByTrain) == "" && rankOf(err) <= 0 {
			fmt.Fprintf(stderr, "train: %v\n", why)
		}
		return why.Code()
	}
	if errors.Is(err, errSaved) || launch.ExitCode(err) == savedCode {
		return savedCode
	}
	complain(stderr, err)
	return failedCode
}

// rankOf returns the rank whose error it is, -1 where it is none's.
func rankOf(err error) transport.Rank {
	if f := (failure{}); errors.As(err, &f) {
		return f.rank
	}
	return -1
}

// awaitInterrupt gives an interrupt that all ranks get a moment to reach this one as well: another
// rank's farewell may be faster, and would look like a failure.
func awaitInterrupt(ctx context.Context, err error) {
	const moment = 100 * time.Millisecond
	if err == nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(moment):
	}
}

// complain prints each of the errors joined in err on a line of its own, with the rank whose it is.
func complain(stderr io.Writer, err error) {
	for _, e := range apart(err) {
		fmt.Fprintf(stderr, "train: %v\n", e)
	}
}

// apart is the errors that are joined in err, by one rank or by all.
func apart(err error) (list []error) {
	if f, ok := err.(failure); ok {
		for _, e := range apart(f.err) {
			list = append(list, failure{f.rank, e})
		}
		return list
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || err.Error() != errors.Join(joined.Unwrap()...).Error() { // or it has a text of its own
		return []error{err}
	}
	for _, e := range joined.Unwrap() {
		list = append(list, apart(e)...)
	}
	return list
}

// terminationDelay is how long a rank goes on after SIGTERM. A launcher sends that to all when one
// has died; by then the transport is about to say which, and the error should.
const terminationDelay = 500 * time.Millisecond
