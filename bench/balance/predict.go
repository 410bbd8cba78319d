package balance

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	alloc "github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/workload"
	"github.com/switchyard-moe/switchyard/internal/balancing"
)

// row is one planner under one load at one rate, and a line of the JSON file.
type row struct {
	Who        string  `json:"who"`
	Load       string  `json:"load"`
	Rate       int     `json:"link_mbps"`
	Ranks      int     `json:"ranks"`
	MS         float64 `json:"p50_ms"`
	Peak       int64   `json:"peak_bytes"`
	PlanUS     float64 `json:"plan_us"`
	OfEven     float64 `json:"of_even"`
	OfPlain    float64 `json:"of_plain"`
	RatioLow   float64 `json:"ratio_low"`
	RatioHigh  float64 `json:"ratio_high"`
	PeakOfEven float64 `json:"peak_of_even"`
	Before     float64 `json:"before"`
	After      float64 `json:"after"`
	Copies     float64 `json:"copies"`
	Moved      float64 `json:"moved"`
	Bytes      float64 `json:"moved_bytes"`

	steps []time.Duration // of each round
}

// predict has every planner plan every load at every rate.
func (o *options) predict(ctx context.Context, stderr io.Writer) (rows []row, err error) {
	p := harness.NewPace(stderr, "balance", len(o.Loads), o.expected())
	for _, name := range o.Loads {
		p.Next("load %s", name)
		batches, err := o.batches(name)
		if err != nil {
			return rows, err
		}
		for _, rate := range o.Rates {
			for _, who := range o.Planners {
				if ctx.Err() != nil {
					return rows, ctx.Err()
				}
				r, err := o.plan(who, rate, batches)
				if err != nil {
					return rows, fmt.Errorf("%s under the load %s: %w", who, name, err)
				}
				r.Load = name
				rows = append(rows, r)
			}
		}
	}
	return rows, nil
}

// expected is about how long it takes: to draw the experts of all tokens.
func (o *options) expected() time.Duration {
	return harness.Times(len(o.Loads)*o.Steps*o.Ranks*o.Tokens, time.Duration(o.Experts)*200*time.Nanosecond)
}

// plan plans the batches, once to warm up and then often enough to tell how long it takes.
func (o *options) plan(who string, rate int, batches []*alltoall.Loads) (row, error) {
	r := row{Who: who, Rate: rate, Ranks: o.Ranks}
	planner, steps := planner(who), float64(len(batches))
	var with, without alloc.Prediction
	var took, finish []time.Duration
	for round := range 3 {
		for _, b := range batches {
			p := o.problem(b, rate)
			begin := time.Now()
			a := planner.Plan(p)
			took = append(took, time.Since(begin))
			if err := a.Validate(p.Loads, p.Limits); err != nil {
				return r, err
			}
			if round > 0 {
				continue
			}
			with.Fill(p, a)
			without.Fill(p, nil)
			r.Before += alloc.MaxOverMean(without.Rows) / steps
			r.After += alloc.MaxOverMean(with.Rows) / steps
			r.OfPlain += float64(with.Finish()) / float64(without.Finish()) / steps
			r.Copies += float64(with.Copies) / steps
			r.Moved += float64(with.Moved) / float64(o.Ranks*o.Tokens*o.K) / steps
			r.Bytes += float64(with.Bytes) / steps
			finish = append(finish, time.Duration(with.Finish()/1000))
		}
	}
	r.MS, r.PlanUS = harness.Median(finish).Seconds()*1e3, harness.Microseconds(harness.Median(took))
	return r, nil
}

// batches are those of all steps under a load.
func (o *options) batches(load string) (list []*alltoall.Loads, err error) {
	l, err := o.load(load)
	if err != nil {
		return nil, err
	}
	for step := range o.Steps {
		list = append(list, o.batch(l, step))
	}
	return list, nil
}

// batch counts the rows of a step, by leaf.
func (o *options) batch(load *workload.Load, step int) *alltoall.Loads {
	each := (o.Tokens + o.Group - 1) / o.Group
	l := &alltoall.Loads{Placement: alltoall.Even(o.Experts, o.Ranks), Rows: make([]int32, o.Experts*o.Ranks*each)}
	for rank := range o.Ranks {
		l.Leaves = append(l.Leaves, each)
		d := load.Decide(rank, step, o.Tokens)
		e := 0
		for i, t := range d.Token {
			for i >= d.Ends[e] {
				e++
			}
			l.Rows[(e*o.Ranks+rank)*each+int(t)/o.Group]++
		}
	}
	return l
}

// problem is what planners get: a step of training with float32 rows and experts of three matrices,
// 18 flop for each of their elements and row.
func (o *options) problem(l *alltoall.Loads, rate int) *alloc.Problem {
	matrix := int64(o.Dim) * int64(o.Hidden)
	p := &alloc.Problem{Loads: l, Limits: o.limits(), Costs: alloc.Costs{
		Leaf: balancing.LeafRows, RowBytes: 4 * 4 * int64(o.Dim), Params: 3 * 4 * matrix, Gradient: 3 * 4 * matrix, Within: 8_000_000 / int64(rate),
	}}
	for range o.Ranks {
		p.Costs.Row = append(p.Costs.Row, 18*matrix*1000/int64(o.Gflops))
	}
	return p
}

func (o *options) writeTable(stdout io.Writer, rows []row) {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "load\tMbit/s\tplanner\tstep(ms)\t÷ even\t÷ plain\t95%\tmax/mean\tafter\tcopies\trows moved\tMB moved\tpeak(MB)\t÷ even\tplan(us)\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%s\t%.1f\t%s\t%s\t%s\t%s\t%s\t%.1f\t%.0f%%\t%.1f\t%s\t%s\t%.0f\t\n", r.Load, r.Rate, r.Who, r.MS, known("%.2f", r.OfEven), known("%.2f", r.OfPlain),
			r.interval(), known("%.2f", r.Before), known("%.3f", r.After), r.Copies, 100*r.Moved, r.Bytes/1e6, known("%.0f", float64(r.Peak)/1e6), known("%.2f", r.PeakOfEven), r.PlanUS)
	}
	w.Flush()
}

// interval writes that of the ratio to plain.
func (r *row) interval() string {
	if r.RatioHigh == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f-%.2f", r.RatioLow, r.RatioHigh)
}

// known writes a number, or a dash for 0, as what is not known.
func known(format string, v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}
