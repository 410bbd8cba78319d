// Package overlap is a command of bench: it times a layer whose experts compute while rows travel.
package overlap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Times forward and backward passes of a layer on slow links, with its exchanges in one chunk, in several, and in as many as it chooses.

usage: go run ./bench overlap [flags]

Needs root and Linux. Every rank is a process in a network namespace of its own, behind a link held to a rate by token buckets (tc tbf) in
both directions. Experts are SwiGLU with -hidden columns, -each of them a rank; tokens go to -k experts at random. All take turns in every
round, after the profile of the one that chooses; a step takes as long as its slowest rank, and is the median round's. One chunk is a layer that was built for one;
the other numbers of chunks, and those chosen, are tried on the layer that has chosen: two of equal work differ by several per cent, as memory has it.

comm is the same step with experts that return what they get, compute what the experts of a rank took in one chunk, on the slowest rank.
bound is the larger of the two, ÷ bound what overlap leaves of it, speedup that over one chunk, predicted ÷ what the simulated graph says of the
degree chosen, from a profile of one and of -most chunks, and measured. regret is by how much the chosen is slower than the best degree.

With -micro 2 or more a step is that number of micro-batches of -tokens, one after the other; then also two in flight (all, where their number is odd), each in a
pass of the layer: "1 ‖" in one chunk, "chosen ‖" in as many as the layer has chosen by passes that ran alone. "⫽" has the second begin when the first has gone forward, so that one goes
forward while the other goes back. With -dense each micro-batch goes through a SwiGLU of that number of hidden columns before the layer, which every
rank has for itself: compute counts it.

processor is what all ranks together had of processors in a step and what lies between two. The last line counts the chosen whose step takes at most 1.1 times
the bound and one chunk of the smaller of the two: what nothing can overlap with.

-json FILE writes an object a line: rate_mbit, tokens, dim, hidden, k, comm_ms, compute_ms, degree (0: chosen), forward and backward (chunks), in_flight
(micro-batches), apart (⫽), step_ms, processor_ms, predicted_ms, speedup, of_bound, regret; of the chosen also the 95 % interval of regret, of paired rounds: regret_low, regret_high.

Flags:
`

// options are the flags of overlap.
type options struct {
	Ranks, Rounds, Each, K, Most, Micro, Dense int
	Rates, Tokens, Dims, Hidden                []int

	rateText, tokensText, dimText, hiddenText, jsonFile string
	TraceFile                                           string // ranks keep timelines for it
	short                                               bool
}

func newFlags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("overlap", flag.ContinueOnError)
	f.IntVar(&o.Ranks, "ranks", 4, "ranks, 2 to 16")
	f.IntVar(&o.Rounds, "rounds", 9, "timed rounds, 1 to 1000; with -short 2")
	f.IntVar(&o.Each, "each", 8, "experts of a rank, 1 to 64")
	f.IntVar(&o.K, "k", 2, "experts of each token")
	f.IntVar(&o.Most, "most", 8, "most chunks, a power of two up to 64")
	f.IntVar(&o.Micro, "micro", 1, "micro-batches of a step, 1 to 8")
	f.IntVar(&o.Dense, "dense", 0, "hidden columns of a dense layer before the layer, 0 to 65536; 0: there is none")
	f.StringVar(&o.rateText, "rates", "250,500,1000,2000", "Mbit/s of the links")
	f.StringVar(&o.tokensText, "tokens", "512,1024", "tokens of each rank")
	f.StringVar(&o.dimText, "dims", "512", "columns of a token")
	f.StringVar(&o.hiddenText, "hidden", "256,512,1024", "hidden columns of an expert")
	f.BoolVar(&o.short, "short", false, "one small case: finish within seconds")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file, one JSON object a line")
	outfile.Var(f, &o.TraceFile, "trace", "", "write the last step in most chunks of the last case to this file, for ui.perfetto.dev")
	return f
}

func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	f := newFlags(&o)
	if err := harness.ParseFlags(f, usage, args, stdout); err != nil {
		return o, err
	}
	if o.short {
		o.Rounds, o.rateText, o.tokensText, o.hiddenText, o.dimText = 2, "1000", "64", "32", "64"
	}
	return o, o.resolve()
}

// resolve turns texts into what they name, and reports every fault.
func (o *options) resolve() error {
	var l harness.Limits
	l.Within("ranks", o.Ranks, 2, 16)
	l.Within("rounds", o.Rounds, 1, 1000)
	l.Within("each", o.Each, 1, 64)
	l.Within("k", o.K, 1, max(o.Each*o.Ranks, 1))
	l.Within("most", o.Most, 1, 64)
	l.Within("micro", o.Micro, 1, 8)
	l.Within("dense", o.Dense, 0, 1<<16)
	for _, list := range []struct {
		name, text string
		to         *[]int
		high       int
	}{{"rates", o.rateText, &o.Rates, 100_000}, {"tokens", o.tokensText, &o.Tokens, 1 << 20}, {"dims", o.dimText, &o.Dims, 1 << 16}, {"hidden", o.hiddenText, &o.Hidden, 1 << 16}} {
		for _, field := range strings.Split(list.text, ",") {
			n, err := strconv.Atoi(field)
			if err != nil || n < 1 || n > list.high {
				l.Faults = append(l.Faults, fmt.Errorf("-%s %q: want 1 to %d", list.name, field, list.high))
			}
			*list.to = append(*list.to, n)
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
		return harness.NotRun(stderr, "overlap", err)
	}
	rows, err := o.measure(ctx, stderr)
	if len(rows) > 0 {
		writeTable(stdout, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows))
	}
	return harness.Conclude(ctx, err, stderr)
}

// expected is about how long it takes: steps of every mode, and those in which layers choose, each
// of them the time of its rows on the link and of its experts on the ranks' share of two cores.
func (o *options) expected() (all time.Duration) {
	for _, rate := range o.Rates {
		all += 5 * time.Second
		for _, c := range o.cases() {
			rows := float64(c.tokens * o.K)
			link := 4 * rows * float64(c.dim) * 32 / float64(rate*1_000_000)
			experts := rows * float64(c.dim*c.hidden) * 18 * float64(o.Ranks) / 2 / 50e9
			once := time.Duration((link + experts) * float64(max(o.Micro, 1)) * float64(time.Second))
			all += harness.Times((o.Rounds+1)*(len(o.modes())+2)+profileSteps/4, once)
		}
	}
	return all
}

// measure runs the ranks at each rate.
func (o *options) measure(ctx context.Context, stderr io.Writer) (rows []overlapRow, err error) {
	p := harness.NewPace(stderr, "overlap", len(o.Rates), o.expected())
	c, err := netns.New(ctx, o.Ranks, 1, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Remove()) }()
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, netns.RunLimit)
	defer cancel()
	for _, rate := range o.Rates {
		p.Next("links of %d Mbit/s", rate)
		if err := c.Limit(ctx, rate); err != nil {
			return rows, err
		}
		var out bytes.Buffer
		stopped := launch.Run(ctx, launch.Config{
			Ranks: o.Ranks, Command: c.Command(self, "overlap", rankArg, string(text)), Stdout: &out, Stderr: harness.UntilDone(ctx, stderr),
		})
		more, err := o.collect(rate, &out)
		if rows = append(rows, more...); stopped != nil || err != nil {
			return rows, errors.Join(stopped, err)
		}
	}
	return rows, nil
}

// overlapRow is one degree in one case, and a line of the JSON file.
type overlapRow struct {
	Rate      int     `json:"rate_mbit"`
	Tokens    int     `json:"tokens"`
	Dim       int     `json:"dim"`
	Hidden    int     `json:"hidden"`
	K         int     `json:"k"`
	Comm      float64 `json:"comm_ms"`
	Compute   float64 `json:"compute_ms"`
	Degree    int     `json:"degree"`  // 0 is what the layer chooses
	Forward   int     `json:"forward"` // chunks
	Backward  int     `json:"backward"`
	InFlight  int     `json:"in_flight"`
	Apart     bool    `json:"apart"`
	Step      float64 `json:"step_ms"`
	Processor float64 `json:"processor_ms"`
	Predicted float64 `json:"predicted_ms"`
	Speedup   float64 `json:"speedup"`
	OfBound   float64 `json:"of_bound"`
	Regret    float64 `json:"regret"`
	// RegretLow and RegretHigh are the interval of 95 % of Regret, round by round; of the chosen.
	RegretLow  float64 `json:"regret_low,omitempty"`
	RegretHigh float64 `json:"regret_high,omitempty"`
}

// collect makes rows of what the ranks report.
func (o *options) collect(rate int, out io.Reader) ([]overlapRow, error) {
	reports := make([]overlapReport, o.Ranks)
	d := json.NewDecoder(out)
	cases := o.cases() // that all ranks have done
	for i := range reports {
		if err := d.Decode(&reports[i]); err != nil {
			return nil, fmt.Errorf("a rank's report: %w", err)
		}
		cases = cases[:min(len(cases), len(reports[i].Results))]
	}
	if o.TraceFile != "" {
		if err := writeTraceOf(o.TraceFile, reports); err != nil {
			return nil, err
		}
	}
	var rows []overlapRow
	for i, c := range cases {
		var of []overlapResult
		for _, r := range reports {
			of = append(of, r.Results[i])
		}
		comm, compute := slowestMedian(of, func(r overlapResult) []time.Duration { return r.Comm }), slowestMedian(of, func(r overlapResult) []time.Duration { return r.Compute })
		best, first, fastest := 0.0, len(rows), 0
		for j, v := range o.modes() {
			row := overlapRow{Rate: rate, Tokens: c.tokens, Dim: c.dim, Hidden: c.hidden, K: o.K, Degree: v.degree, InFlight: v.inFlight, Apart: v.apart, Comm: comm, Compute: compute}
			row.Forward, row.Backward = of[0].Chosen[j][0], of[0].Chosen[j][1]
			row.Step = slowestMedian(of, func(r overlapResult) []time.Duration { return r.Steps[j] })
			row.Processor = allMedian(of, func(r overlapResult) []time.Duration { return r.Processor[j] })
			row.Predicted = of[0].Predicted[j].Seconds() * 1e3
			if v.degree > 0 && v.inFlight == 1 && (best == 0 || row.Step < best) {
				best, fastest = row.Step, j
			}
			rows = append(rows, row)
		}
		for j := range rows[first:] {
			r := &rows[first+j]
			r.Speedup, r.OfBound, r.Regret = rows[first].Step/r.Step, r.Step/max(comm, compute), r.Step/best-1
			if ratio := harness.PairedRatio(slowest(of, j), slowest(of, fastest)); r.Predicted > 0 && ratio.Low > 0 {
				r.RegretLow, r.RegretHigh = ratio.Low-1, ratio.High-1
			}
		}
	}
	if all := len(o.cases()); len(cases) < all {
		return rows, fmt.Errorf("the ranks report %d cases, want %d", len(cases), all)
	}
	return rows, nil
}

// slowest is the time of the slowest rank in each round of a mode.
func slowest(of []overlapResult, mode int) []time.Duration {
	list := make([]time.Duration, len(of[0].Steps[mode]))
	for _, r := range of {
		for i, t := range r.Steps[mode] {
			list[i] = max(list[i], t)
		}
	}
	return list
}

// slowestMedian is the median round's time of its slowest rank, in ms.
func slowestMedian(of []overlapResult, times func(overlapResult) []time.Duration) float64 {
	slowest := make([]time.Duration, len(times(of[0])))
	for _, r := range of {
		for i, t := range times(r) {
			slowest[i] = max(slowest[i], t)
		}
	}
	return harness.Median(slowest).Seconds() * 1e3
}

// allMedian is the median round's time of all ranks together, in ms.
func allMedian(of []overlapResult, times func(overlapResult) []time.Duration) float64 {
	all := make([]time.Duration, len(times(of[0])))
	for _, r := range of {
		for i, t := range times(r) {
			all[i] += t
		}
	}
	return harness.Median(all).Seconds() * 1e3
}

func writeTable(stdout io.Writer, rows []overlapRow) {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "Mbit/s\ttokens\tdim\thidden\tcomm(ms)\tcompute(ms)\tchunks\tstep(ms)\tprocessor(ms)\tspeedup\t÷ bound\tregret\tpredicted ÷\t")
	for _, r := range rows {
		chunks, predicted := strconv.Itoa(r.Degree), ""
		if r.Degree == 0 {
			chunks = fmt.Sprintf("chosen %d, %d", r.Forward, r.Backward)
		}
		if r.Predicted > 0 {
			predicted = fmt.Sprintf("%.2f", r.Predicted/r.Step)
		}
		switch {
		case r.Apart:
			chunks += " ⫽"
		case r.InFlight > 1:
			chunks += " ‖"
		}
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%.1f\t%.1f\t%s\t%.1f\t%.0f\t%.2f\t%.2f\t%.0f%%\t%s\t\n", r.Rate, r.Tokens, r.Dim, r.Hidden, r.Comm, r.Compute,
			chunks, r.Step, r.Processor, r.Speedup, r.OfBound, 100*r.Regret, predicted)
	}
	w.Flush()
	cases, near, worst, predicted, tight := 0, 0, 0.0, 0, 0
	for _, r := range rows {
		if r.Predicted > 0 {
			cases++
			worst = max(worst, 1/r.Speedup-1)
			if r.Regret <= 0.05 {
				near++
			}
			if p := r.Predicted / r.Step; p >= 0.9 && p <= 1.1 {
				predicted++
			}
			if r.Step <= r.limit() {
				tight++
			}
		}
	}
	fmt.Fprintf(stdout, "# %d cases: the chosen degree is within 5%% of the best in %d, at worst %.0f%% slower than one chunk; predicted within 10%% in %d; "+
		"within 1.1 bound and a chunk in %d\n", cases, near, max(100*worst, 0), predicted, tight)
	writeBalanced(stdout, rows)
}

// writeBalanced writes how the chosen degrees do beside the best, and where the exchange takes most
// nearly as long as the experts.
func writeBalanced(stdout io.Writer, rows []overlapRow) {
	cases, equal := 0, 0
	var balanced *overlapRow
	for i := range rows {
		r := &rows[i]
		if r.Predicted == 0 {
			continue
		}
		if cases++; r.Regret <= 0 || r.RegretLow < 0 {
			equal++
		}
		if balanced == nil || r.uneven() < balanced.uneven() {
			balanced = r
		}
	}
	if balanced == nil {
		return
	}
	fmt.Fprintf(stdout, "# the best degree is in the 95%% interval of the chosen in %d of %d; where the exchange takes %.2f times as long as the experts "+
		"the chosen is %.2f times as fast as one chunk\n", equal, cases, balanced.Comm/balanced.Compute, balanced.Speedup)
}

// uneven is how many times as long the longer of exchange and experts takes as the shorter.
func (r *overlapRow) uneven() float64 { return max(r.Comm, r.Compute) / min(r.Comm, r.Compute) }

// limit is what a step may take at most to be called well overlapped: a tenth more than the larger
// of rows and experts, and a chunk of the other before or after it.
func (r *overlapRow) limit() float64 {
	return 1.1*max(r.Comm, r.Compute) + min(r.Comm, r.Compute)/float64(min(r.Forward, r.Backward))
}
