package alltoall

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// comparison is a comparison under way.
type comparison struct {
	options
	steps       []step
	contestants []*contestant
	// samples holds, for each contestant and step, a sample a round.
	samples map[*contestant][][]sample
	// leftOut says, a line each, which peers do not take part and why.
	leftOut  []string
	progress io.Writer
	pace     *harness.Pace
	// peerFailed is set when a peer that could be built could not be run.
	peerFailed bool
	// load says how busy the machine was at the start, or nothing.
	load string
}

func newComparison(o options, progress io.Writer) *comparison {
	return &comparison{
		options: o, steps: plan(o.sizes, o.ranks, o.iterations, o.short),
		samples: map[*contestant][][]sample{}, progress: progress,
	}
}

// leaveOut notes that a peer takes no part, there and then and for the outcome.
func (c *comparison) leaveOut(name string, why error) {
	line := fmt.Sprintf("skipped %s: %v", name, why)
	c.leftOut = append(c.leftOut, line)
	fmt.Fprintf(c.progress, "bench: %s\n", line)
}

// run lets the contestants take turns. A different one starts in each round, so that nobody is
// always the one who finds the machine warm. A peer that fails is left out from there on, with all
// it has shown before; that ours fails ends it all.
func (c *comparison) run(ctx context.Context) error {
	// without what could not be built, and without building
	c.pace.Turns, c.pace.Start = c.rounds*len(c.contestants), time.Now()
	for round := range c.rounds {
		for _, who := range rotated(c.contestants, round) {
			err := c.turn(ctx, who, round)
			switch {
			case err == nil:
			case who.ours() || ctx.Err() != nil:
				return err
			default:
				c.leaveOut(who.name(), err)
				c.peerFailed = true
				c.contestants = slices.DeleteFunc(c.contestants, func(x *contestant) bool { return x == who })
			}
		}
	}
	return nil
}

// expected is about how long all turns of all who are asked for take.
func (c *comparison) expected() (all time.Duration) {
	for _, who := range slices.Concat(c.transports, c.peers) {
		each := time.Second // to start
		for _, s := range c.steps {
			once := 100*time.Microsecond + time.Duration(s.bytes*c.ranks*(c.ranks-1)) // a GB a second
			if who == glooName && s.bytes < 1<<20 {
				once += 4 * time.Millisecond
			}
			each += harness.Times(s.warmup+s.iterations, once)
		}
		all += harness.Times(c.rounds, each)
	}
	return all
}

// rotated returns a copy of list that starts n elements later.
func rotated(list []*contestant, n int) []*contestant {
	n %= len(list)
	return slices.Concat(list[n:], list[:n])
}

func (c *comparison) turn(ctx context.Context, who *contestant, round int) error {
	c.pace.Next("round %d of %d: %s", round+1, c.rounds, who.name())
	limited, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("no end within -timeout %v", c.timeout))
	defer cancel()
	start := time.Now()
	samples, err := who.turn(limited, c.ranks, c.steps)
	if err != nil {
		return fmt.Errorf("round %d, after %v: %w", round+1, time.Since(start).Round(time.Millisecond), err)
	}
	if c.samples[who] == nil {
		c.samples[who] = make([][]sample, len(c.steps))
	}
	for i, s := range samples {
		c.samples[who][i] = append(c.samples[who][i], s)
	}
	return nil
}

// rows returns the outcome: for each step, that of each contestant.
func (c *comparison) rows() [][]row {
	rows := make([][]row, len(c.steps))
	for i, step := range c.steps {
		for _, who := range c.contestants {
			s := summarise(c.samples[who][i])
			r := row{
				Who: who.who, Version: who.version, Transport: who.transport, Ranks: c.ranks,
				BytesPerPeer: step.bytes, Algorithm: who.algorithm,
				P50: harness.Microseconds(s.p50), P99: harness.Microseconds(s.p99), Wrong: s.wrong,
			}
			algbw, busbw := bandwidths(step.bytes, c.ranks, s.p50)
			r.Algbw, r.Busbw = toBytes(algbw), toBytes(busbw)
			rows[i] = append(rows[i], r)
		}
	}
	return rows
}

// toBytes rounds a bandwidth in GB/s to whole bytes a second.
func toBytes(bandwidth float64) float64 { return math.Round(bandwidth*1e9) / 1e9 }
