// Package alltoall is a command of bench: it times an all-to-all over our transports, beside Open
// MPI and Gloo.
package alltoall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/peers"
)

// Run is the command alltoall.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "alltoall", err)
	}
	return harness.Conclude(ctx, o.compare(ctx, stdout, stderr), stderr)
}

// compare builds the contestants, lets them run and prints the outcome. Wrong bytes and failed
// peers are errors, but ones that the outcome is printed in spite of.
func (o options) compare(ctx context.Context, stdout, progress io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "switchyard-bench-peers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := newComparison(o, progress)
	c.load = harness.Load()
	c.pace = harness.NewPace(progress, "alltoall", 0, c.expected())
	if err := c.gather(ctx, dir); err != nil {
		return err
	}
	stopped := c.run(ctx)
	if c.onlyMeasured(); len(c.contestants) == 0 {
		return stopped
	}
	rows := c.rows()
	c.print(stdout, rows)
	return errors.Join(stopped, harness.WriteJSONLines(o.jsonFile, slices.Concat(rows...)), c.verdict(rows))
}

// onlyMeasured leaves out contestants that have had no turn to its end.
func (c *comparison) onlyMeasured() {
	c.contestants = slices.DeleteFunc(c.contestants, func(who *contestant) bool { return c.samples[who] == nil })
}

// verdict returns what is wrong with an outcome.
func (c *comparison) verdict(rows [][]row) error {
	if wrong := wrongBytes(rows); wrong > 0 {
		return fmt.Errorf("%d wrong bytes", wrong)
	}
	if c.peerFailed {
		return errors.New("a peer failed, see above")
	}
	return nil
}

// print writes the outcome in the format asked for.
func (c *comparison) print(w io.Writer, rows [][]row) {
	if c.format == formatGo {
		c.writeBenchstat(w)
		return
	}
	fmt.Fprintf(w, "# switchyard bench alltoall: %d ranks on one machine, %s/%s, %d CPUs%s; rounds: %d\n",
		c.ranks, runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), c.load, c.rounds)
	for _, line := range c.leftOut {
		fmt.Fprintf(w, "# %s\n", strings.ReplaceAll(line, "\n", "\n#   "))
	}
	writeTable(w, rows)
}

// gather builds all contestants that were asked for. A peer that cannot be built here is left out.
func (c *comparison) gather(ctx context.Context, dir string) error {
	for _, name := range c.transports {
		who, err := ours(name)
		if err != nil {
			return err
		}
		c.contestants = append(c.contestants, who)
	}
	if err := peers.WriteSources(dir); err != nil {
		return err
	}
	for _, p := range allPeers() {
		if !slices.Contains(c.peers, p.name) {
			continue
		}
		fmt.Fprintf(c.progress, "bench: building peer %s\n", p.name)
		who, err := p.build(ctx, dir)
		if err != nil {
			c.leaveOut(p.name, err)
			continue
		}
		c.contestants = append(c.contestants, who)
	}
	return ctx.Err()
}
