package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// runAlltoall is the command alltoall.
func runAlltoall(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\nbench: alltoall -h explains\n", err)
		return misused
	}
	if err := o.compare(ctx, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return failed
	}
	return 0
}

// compare builds the contestants, lets them run and prints the outcome. Wrong bytes and failed peers are errors,
// but ones that the outcome is printed in spite of.
func (o options) compare(ctx context.Context, stdout, progress io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "switchyard-bench-peers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	out, err := o.createJSON() // before the long work, so that a bad name is known at once
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	c := newContest(o, progress)
	c.load = load()
	if err := c.gather(ctx, dir); err != nil {
		return err
	}
	if err := c.run(ctx); err != nil {
		return err
	}
	rows := c.rows()
	c.print(stdout, rows)
	return errors.Join(writeJSON(out, rows), c.verdict(rows))
}

// verdict returns what is wrong with an outcome.
func (c *contest) verdict(rows [][]row) error {
	if wrong := wrongBytes(rows); wrong > 0 {
		return fmt.Errorf("%d wrong bytes", wrong)
	}
	if c.peerFailed {
		return errors.New("a peer failed, see above")
	}
	return nil
}

// print writes the outcome in the format asked for.
func (c *contest) print(w io.Writer, rows [][]row) {
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

// load says how busy the machine is, where the system tells: figures from a busy one are not to be trusted, least
// of all those of peers that spin while they wait.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	lately, _, ok := strings.Cut(string(text), " ")
	if err != nil || !ok {
		return ""
	}
	return ", load average " + lately + " before the start"
}

// gather builds all contestants that were asked for. A peer that cannot be built here is left out.
func (c *contest) gather(ctx context.Context, dir string) error {
	for _, name := range c.transports {
		who, err := ours(name)
		if err != nil {
			return err
		}
		c.contestants = append(c.contestants, who)
	}
	if err := writeSources(dir); err != nil {
		return err
	}
	for _, p := range peers() {
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

// createJSON opens the file for the JSON lines, or what takes them to nowhere.
func (o options) createJSON() (io.WriteCloser, error) {
	if o.jsonFile == "" {
		return nowhere{io.Discard}, nil
	}
	f, err := os.Create(o.jsonFile)
	if err != nil {
		return nil, fmt.Errorf("-json: %w", err)
	}
	return f, nil
}

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }
