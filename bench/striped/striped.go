// Package striped is a command of bench: it times a striped transport while one of its links is
// slow or down.
package striped

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Times messages over a striped transport while one of its links is throttled or taken down.

usage: go run ./bench striped [flags]

Needs root and Linux. Two network namespaces are joined by one pair of virtual Ethernet devices for
each link, each held to -rate by a token bucket (tc tbf) in both directions. Two ranks, a process in
each namespace, have a TCP connection over every link, striped with and without parity. A round is
one message there and one back, timed by rank 0. After a quarter of the rounds the last link that
carries data is throttled tenfold, or taken down; all timed rounds count, those before the fault
included. Every byte of every round depends on sender, round and position, and is checked. The
namespaces are removed at the end, also after an interrupt.

Ratios are to the run without a fault with the same parity. The exit code is 1 if a byte is wrong, or
if a round with parity fails; a plain one whose link is down must fail.

-json FILE writes an object a line: who, version, fault, links, parity, bytes, rounds, rate_mbit,
p50_us, p99_us, p50_ratio, p99_ratio (0 without a run to compare with), wrong, error.

Flags:
`

// The faults that a link can have.
const (
	faultNone     = "none"
	faultThrottle = "throttle"
	faultDown     = "down"
)

// throttle is the factor that a throttled link is slower by.
const throttle = 10

// options are the flags of striped.
type options struct {
	links, parity, rounds, rate int
	bytes                       int
	faults                      []string
	short                       bool
	jsonFile                    string
	sizeText, faultText         string
}

func newFlags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("striped", flag.ContinueOnError)
	f.IntVar(&o.links, "links", 5, "links, with a connection each, 2 to 16")
	f.IntVar(&o.parity, "parity", 1, "links that carry parity, at least 1 and fewer than -links")
	f.StringVar(&o.sizeText, "size", "1Mi", "bytes of a message")
	f.IntVar(&o.rounds, "rounds", 100, "timed rounds of each run, 8 to 100000; with -short 20")
	f.IntVar(&o.rate, "rate", 100, "Mbit/s of each link, 10 to 10000")
	f.StringVar(&o.faultText, "fault", "none,throttle,down", "what happens to a link, one or more")
	f.BoolVar(&o.short, "short", false, "finish within seconds; the figures mean little then")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file, one JSON object a line")
	return f
}

func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	f := newFlags(&o)
	if err := harness.ParseFlags(f, usage, args, stdout); err != nil {
		return o, err
	}
	set := false
	f.Visit(func(f *flag.Flag) { set = set || f.Name == "rounds" })
	if o.short && !set {
		o.rounds = 20
	}
	return o, o.resolve()
}

// resolve turns texts into what they name, and reports every fault.
func (o *options) resolve() error {
	var l harness.Limits
	l.Within("links", o.links, 2, 16)
	l.Within("parity", o.parity, 1, o.links-1)
	l.Within("rounds", o.rounds, 8, 100_000)
	l.Within("rate", o.rate, 10, 10_000)
	var err error
	if o.bytes, err = harness.ParseSize(o.sizeText); err != nil {
		l.Faults = append(l.Faults, fmt.Errorf("-size: %w", err))
	}
	known := []string{faultNone, faultThrottle, faultDown}
	o.faults = strings.Split(o.faultText, ",")
	for _, name := range o.faults {
		if !slices.Contains(known, name) {
			l.Faults = append(l.Faults, fmt.Errorf("-fault %q: want one or more of %s", name, strings.Join(known, ",")))
		}
	}
	return errors.Join(l.Faults...)
}

// Run is the command.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == rankArg {
		return runRank(ctx, args[1:], stdout, stderr)
	}
	o, err := parseOptions(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "striped", err)
	}
	rows, err := o.measure(ctx, stderr)
	if len(rows) > 0 {
		writeTable(stdout, &o, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows), verdict(rows))
	}
	return harness.Conclude(ctx, err, stderr)
}

// measure makes the links, runs every fault with and without parity, and removes the links.
func (o *options) measure(ctx context.Context, stderr io.Writer) (rows []stripedRow, err error) {
	p := harness.NewPace(stderr, "striped", 2*len(o.faults), o.expected())
	links, err := newLinks(ctx, o.links, o.rate)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, links.remove()) }()
	for _, parity := range []int{o.parity, 0} {
		var healthy stripedRow
		for _, fault := range o.faults {
			p.Next("%s, parity %d", fault, parity)
			row, err := o.trial(ctx, links, fault, parity)
			if err != nil {
				return rows, fmt.Errorf("%s, parity %d: %w", fault, parity, err)
			}
			if fault == faultNone {
				healthy = row
			}
			row.compare(healthy)
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// expected is about how long all runs take: rounds of a message there and back over the links, some
// of which are slow.
func (o *options) expected() time.Duration {
	once := time.Duration(2 * 8 * float64(o.bytes) / float64(o.links*o.rate*1_000_000) * float64(time.Second))
	return harness.Times(2*len(o.faults), 3*time.Second+harness.Times(2*(o.rounds+warmup), once))
}
