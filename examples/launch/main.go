// Command launch starts the ranks of a program on this machine as torchrun would:
//
//	go run ./examples/launch -n 4 -- go run ./examples/train
//
// It is a flag parser around package internal/launch.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/switchyard-moe/switchyard/internal/launch"
)

const usage = `Starts N ranks of a program on this machine as torchrun would, and ends them together.

usage: go run ./examples/launch [flags] -- PROGRAM [ARGUMENTS]

Every rank gets RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, GROUP_RANK, MASTER_ADDR,
MASTER_PORT, TORCHELASTIC_RUN_ID, TORCHELASTIC_RESTART_COUNT and TORCHELASTIC_MAX_RESTARTS.
MASTER_PORT and the port after it are free; SWITCHYARD_ADDR has switchyard meet on the latter.

Each line of output starts with the rank that wrote it, in colour on a terminal unless NO_COLOR
is set. Interrupts and other signals are passed on to all ranks. When one rank fails, the others
get SIGTERM and, after the grace, SIGKILL; a second interrupt does the same.

With -restarts N all ranks are then started again, up to N times, and a program that saves its
state can go on; TORCHELASTIC_RESTART_COUNT says how often that has happened. After a signal from
outside they are not.

The exit code is that of the rank that failed first, or 128 plus the signal that killed it. (go run
makes 1 of every failure; build the launcher, or PROGRAM, where the very code matters.)

Examples:
  go run ./examples/launch -n 4 -- go run ./examples/train
  go run ./examples/launch -n 4 -restarts 3 -- go run ./examples/train -save runs -resume runs
  go run ./examples/launch -n 2 -- sh -c 'echo rank $RANK of $WORLD_SIZE'

Flags:
`

const (
	// usageCode is what flag itself exits with when it cannot make sense of the command line.
	usageCode = 2
	maxPort   = 65535
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process around it; it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	cfg, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "launch: %v\nlaunch: -h explains\n", err)
		return usageCode
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, launch.Forwarded()...)
	defer func() {
		signal.Stop(signals)
		close(signals)
	}()

	passed, stopped := passOn(signals)
	cfg.Signals, cfg.Stdout, cfg.Stderr, cfg.Colour = passed, stdout, stderr, wantsColour(stdout)
	cfg.OnRestart = func(restart int, failure *launch.ExitError) {
		fmt.Fprintf(stderr, "launch: %v; all ranks start again: restart %d of %d\n", failure, restart, cfg.Restarts)
	}
	err = launch.Run(context.Background(), cfg)
	switch {
	case err != nil && stopped.Load():
		fmt.Fprintln(stderr, "launch: stopped by a signal, as were all ranks")
	case err != nil:
		fmt.Fprintf(stderr, "launch: %s\n", strings.TrimPrefix(err.Error(), "launch: "))
	}
	return launch.ExitCode(err)
}

// passOn returns a channel of the same signals, and whether one has come that ends programs.
func passOn(signals <-chan os.Signal) (<-chan os.Signal, *atomic.Bool) {
	passed, stopped := make(chan os.Signal, cap(signals)), new(atomic.Bool)
	go func() {
		for s := range signals {
			if s == os.Interrupt || s == syscall.SIGTERM {
				stopped.Store(true)
			}
			select {
			case passed <- s:
			default: // as signal.Notify does
			}
		}
	}()
	return passed, stopped
}

// parse turns the command line into what is to be launched, and prints help to stdout where that is
// asked for.
func parse(args []string, stdout io.Writer) (launch.Config, error) {
	flags := flag.NewFlagSet("launch", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	ranks := flags.Int("n", 1, "number of ranks, 1 to 1024")
	port := flags.Int("port", 0, "MASTER_PORT; 0 chooses one that is free together with the next")
	grace := flags.Duration("grace", launch.DefaultGrace, "how long ranks may take to end after SIGTERM")
	restarts := flags.Int("restarts", 0, "how often all ranks are started again after one has failed")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
	}
	if err != nil {
		return launch.Config{}, err
	}
	if *grace < time.Millisecond {
		return launch.Config{}, fmt.Errorf("-grace %v: want 1ms or more", *grace)
	}
	if *ranks < 1 || *ranks > launch.MaxRanks {
		return launch.Config{}, fmt.Errorf("-n %d: want 1 to %d ranks", *ranks, launch.MaxRanks)
	}
	if *port < 0 || *port > maxPort-1 {
		return launch.Config{}, fmt.Errorf("-port %d: want 1 to %d, as the port after it is used too, or 0 to choose", *port, maxPort-1)
	}
	if *restarts < 0 {
		return launch.Config{}, fmt.Errorf("-restarts %d: want 0 or more", *restarts)
	}
	if flags.NArg() == 0 {
		return launch.Config{}, errors.New("no program to launch: name it after --")
	}
	return launch.Config{Ranks: *ranks, Command: flags.Args(), MasterPort: *port, Grace: *grace, Prefix: true, Restarts: *restarts}, nil
}

// wantsColour reports whether w is a terminal whose user has not asked for plain text.
func wantsColour(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}
