// Command serve answers evaluations of a mixture-of-experts layer, whose experts are spread over
// several ranks, over HTTP and gRPC.
//
//	go run ./examples/serve                 # four ranks as processes; prints a line of curl to try
//	go run ./examples/launch -n 4 -restarts 9 -- go run ./examples/serve
//
// Rank 0, the front, puts the requests of its clients into batches and numbers these; the other
// ranks follow its order. docs/serving.md describes it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// The exit codes beside 0.
const (
	failedCode = 1
	usageCode  = 2
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
		fmt.Fprintf(stderr, "serve: %v\nserve: -h explains\n", err)
		return usageCode
	}
	if err := o.start(ctx, args, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "serve: %v\n", err)
		if errors.As(err, new(modelError)) {
			return usageCode
		}
		return launch.ExitCode(err)
	}
	return 0
}

// start runs the rank that this process is, or all ranks if no launcher has made it one.
func (o *options) start(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	place, err := rendezvous.Detect(rendezvous.Process{}, os.Getenv)
	if err != nil {
		return err
	}
	if place.Source == "alone" && o.loadTime > 0 {
		return o.runLoad(ctx, args, stdout, stderr)
	}
	if place.Source == "alone" {
		return o.startRanks(ctx, args, stdout, stderr, func() {})
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	asked, release := askedToEnd()
	defer release()
	if place.Rank == front {
		return runFront(ctx, *o, asked, stdout, log)
	}
	return runFollower(ctx, *o, asked, log)
}

// askedToEnd returns a channel that closes with SIGTERM or an interrupt. A second signal ends the
// process at once.
func askedToEnd() (asked chan struct{}, release func()) {
	signals, asked := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		if _, open := <-signals; open {
			signal.Stop(signals)
			close(asked)
		}
	}()
	return asked, func() {
		signal.Stop(signals)
		close(signals)
	}
}
