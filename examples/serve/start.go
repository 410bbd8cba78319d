package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/switchyard-moe/switchyard/internal/launch"
)

// startRanks starts this program once for each rank, and all of them again when one has failed,
// unless the flags are at fault.
// restarted is called each time before that.
func (o *options) startRanks(ctx context.Context, args []string, stdout, stderr io.Writer, restarted func()) error {
	command, err := launch.Self(args...)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, launch.Forwarded()...)
	defer signal.Stop(signals)
	return launch.Run(ctx, launch.Config{
		Ranks: o.ranks, Command: command, Stdout: stdout, Stderr: stderr, Signals: signals,
		Restarts: o.restarts,
		Final:    func(failure *launch.ExitError) bool { return failure.Code == usageCode },
		OnRestart: func(restart int, failure *launch.ExitError) {
			fmt.Fprintf(stderr, "serve: %v; all ranks start again: restart %d of %d\n", failure, restart, o.restarts)
			restarted()
		},
	})
}
