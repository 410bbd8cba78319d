package alltoall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/launch"
)

// contestant is one of the programs that are compared: its ranks run the steps they are told and
// write reports.
type contestant struct {
	who, transport, algorithm string
	// command returns what starts ranks under launch: the program that every one of processes
	// processes runs.
	command func(dir string, ranks int, steps []step) (command []string, processes int)
	// version is what its ranks said in the latest turn.
	version string
}

// name is what tables call c.
func (c *contestant) name() string { return c.who + "-" + c.transport }

// ours reports whether c is switchyard itself, not a peer.
func (c *contestant) ours() bool { return c.who == harness.Name }

// turn runs the steps once, in fresh processes that end with the turn, so that what is not
// measured does not as much as wait, and returns a sample for each step.
func (c *contestant) turn(ctx context.Context, ranks int, steps []step) (samples []sample, err error) {
	dir, err := os.MkdirTemp("", "switchyard-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Mkdir(filepath.Join(dir, storeName), 0o700); err != nil {
		return nil, err
	}
	command, processes := c.command(dir, ranks, steps)
	var out bytes.Buffer
	cfg := launch.Config{Ranks: processes, Command: command, Stdout: &out, Stderr: &out, Grace: harness.QuitGrace}
	if err := launch.Run(ctx, cfg); err != nil {
		return nil, fmt.Errorf("%s: %w%s", c.name(), err, harness.Quoted(out.String()))
	}
	return c.collect(dir, ranks, steps)
}

// storeName is the folder in a turn's folder through which Gloo's ranks find each other.
const storeName = "store"

// collect reads what the ranks of a turn have written.
func (c *contestant) collect(dir string, ranks int, steps []step) ([]sample, error) {
	reports := make([]report, ranks)
	for r := range reports {
		var err error
		if reports[r], err = readReport(dir, r, steps); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name(), err)
		}
	}
	c.version = reports[0].version
	samples := make([]sample, len(steps))
	for i := range steps {
		timings := make([]timing, ranks)
		for r := range reports {
			timings[r] = reports[r].timings[i]
		}
		samples[i] = sampleOf(timings)
	}
	return samples, nil
}
