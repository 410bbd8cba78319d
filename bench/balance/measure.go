package balance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/cpushare"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/internal/launch"
)

// cluster is ranks behind links of a rate, each with its share of the processors.
type cluster struct {
	nodes  *netns.Cluster
	shares *cpushare.Shares // nil where there are none
}

// newCluster makes one, and says so where ranks have no shares of their own.
func (o *options) newCluster(ctx context.Context, stderr io.Writer) (c *cluster, err error) {
	c = &cluster{}
	if c.nodes, err = netns.New(ctx, o.Ranks, 1, 0); err != nil {
		return nil, err
	}
	if c.shares, err = cpushare.New(o.Ranks, min(float64(runtime.NumCPU())/float64(o.Ranks), 1)); err != nil {
		fmt.Fprintf(stderr, "bench: ranks take each other's processors, so that little can be seen of computing: %v\n", err)
	}
	return c, nil
}

func (c *cluster) remove() error {
	if c.shares == nil {
		return c.nodes.Remove()
	}
	return errors.Join(c.nodes.Remove(), c.shares.Remove())
}

// command is that of a program as a rank.
func (c *cluster) command(program ...string) []string {
	list := c.nodes.Command(program...)
	if c.shares != nil {
		list = c.shares.Command(list...)
	}
	return list
}

// measure times the variants of every load at every rate, and sees what memory they take.
func (o *options) measure(ctx context.Context, stderr io.Writer) (rows []row, err error) {
	p := harness.NewPace(stderr, "balance", o.turns(), o.expectedMeasured())
	ctx, cancel := context.WithTimeout(ctx, netns.RunLimit)
	defer cancel()
	c, err := o.newCluster(ctx, stderr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.remove()) }()
	peaks := map[variant]int64{}
	for _, rate := range o.Rates {
		if err := c.nodes.Limit(ctx, rate); err != nil {
			return rows, err
		}
		for _, load := range o.Loads {
			p.Next("%d Mbit/s: load %s", rate, load)
			more, err := o.compare(ctx, c, rate, load, peaks, p)
			if err != nil {
				return rows, err
			}
			rows = append(rows, more...)
		}
	}
	return rows, nil
}

// compare times the variants of a load at a rate.
func (o *options) compare(ctx context.Context, c *cluster, rate int, load string, peaks map[variant]int64, p *harness.Pace) ([]row, error) {
	variants := o.variants(load)
	reports, err := c.run(ctx, task{*o, variants, o.Rounds}, p.To)
	if err != nil {
		return nil, err
	}
	rows, err := o.collect(rate, load, variants, reports)
	if err != nil {
		return nil, err
	}
	batches, err := o.batches(load)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		planned, err := o.plan(rows[i].Who, rate, batches)
		if err != nil {
			return nil, err
		}
		rows[i].PlanUS = planned.PlanUS
		if rows[i].Peak, err = o.peak(ctx, c, variant{rows[i].Who, load}, peaks, p); err != nil {
			return nil, err
		}
		even, err := o.peak(ctx, c, plainEven, peaks, p)
		if err != nil {
			return nil, err
		}
		rows[i].PeakOfEven = ratio(float64(rows[i].Peak), float64(even))
	}
	return rows, nil
}

// peak is the most memory of a rank of a variant, run once alone: it is the same at any rate, but
// for what the gate decides by.
func (o *options) peak(ctx context.Context, c *cluster, v variant, known map[variant]int64, p *harness.Pace) (int64, error) {
	if known[v] > 0 && v.Who != "balanced" {
		return known[v], nil
	}
	p.Next("memory of %s, load %s", v.Who, v.Load)
	reports, err := c.run(ctx, task{*o, []variant{v}, 1}, io.Discard)
	for _, r := range reports {
		known[v] = max(known[v], r.Peak)
	}
	return known[v], err
}

// run runs the ranks, and returns what they report.
func (c *cluster) run(ctx context.Context, t task, stderr io.Writer) ([]report, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := launch.Run(ctx, launch.Config{
		Ranks: t.Ranks, Command: c.command(self, "balance", rankArg, string(text)), Stdout: &out, Stderr: harness.UntilDone(ctx, stderr),
	}); err != nil {
		return nil, err
	}
	reports := make([]report, t.Ranks)
	d := json.NewDecoder(&out)
	for i := range reports {
		if err := d.Decode(&reports[i]); err != nil {
			return nil, fmt.Errorf("a rank's report: %w", err)
		}
	}
	return reports, nil
}

// collect makes rows of what the ranks report: a step takes as long as its slowest rank. All
// variants of a load give the same bits.
func (o *options) collect(rate int, load string, variants []variant, reports []report) (rows []row, err error) {
	var even float64
	var plain []time.Duration
	first := -1
	for i, v := range variants {
		steps := slowest(reports, i)
		ms := harness.Median(steps).Seconds() * 1e3
		if v == plainEven {
			even = ms
		}
		if v.Load != load {
			continue
		}
		if v.Who == "plain" {
			plain = steps
		}
		if first < 0 {
			first = i
		}
		for _, r := range reports {
			if r.Results[i].Checked != r.Results[first].Checked {
				return rows, fmt.Errorf("%v gives other bits than %v on rank %d", v, variants[first], r.Rank)
			}
		}
		s := reports[0].Results[i].Stats
		rows = append(rows, row{Who: v.Who, Load: load, Rate: rate, Ranks: o.Ranks, MS: ms, Before: s.RowsBefore, After: s.RowsAfter,
			steps: steps, Copies: float64(s.Copies), Moved: float64(s.Rows) / float64(o.Ranks*o.Tokens*o.K), Bytes: float64(s.Bytes)})
	}
	for i := range rows {
		r := &rows[i]
		r.OfEven = ratio(r.MS, even)
		if plain != nil {
			of := harness.PairedRatio(r.steps, plain)
			r.OfPlain, r.RatioLow, r.RatioHigh = ratio(r.MS, harness.Median(plain).Seconds()*1e3), of.Low, of.High
		}
	}
	return rows, nil
}

// slowest is the time of the slowest rank in each round of a variant.
func slowest(reports []report, variant int) []time.Duration {
	slowest := make([]time.Duration, len(reports[0].Results[variant].Steps))
	for _, r := range reports {
		for round, took := range r.Results[variant].Steps {
			slowest[round] = max(slowest[round], took)
		}
	}
	return slowest
}

// ratio is a/b, or 0 without b.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// turns is how many runs there are at most.
func (o *options) turns() int {
	each := 1 + len(o.Planners)
	return len(o.Rates)*len(o.Loads)*each + 1
}

// expectedMeasured is about how long that takes: the rows of each step on the link, and its experts
// on the ranks' share of two cores of 50 Gflop/s.
func (o *options) expectedMeasured() (all time.Duration) {
	rows := float64(o.Tokens * o.K)
	experts := rows * float64(o.Dim*o.Hidden) * 18 * float64(o.Ranks) / 2 / 50e9
	for _, rate := range o.Rates {
		once := time.Duration((experts + 4*rows*float64(o.Dim)*32/float64(rate*1_000_000)) * 1.5 * float64(time.Second))
		for range o.Loads {
			all += harness.Times((o.Rounds+warmup)*(1+len(o.Planners)), once) + harness.Times(len(o.Planners), 3*time.Second+4*once)
		}
	}
	return all
}
