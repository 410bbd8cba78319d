// Package auto is a command of bench: it holds the formats that a layer chooses for slow links
// against each format tried by hand.
package auto

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Times steps of a layer whose rows travel in formats that it chooses (CompressAuto), and in each format by hand.

usage: go run ./bench auto [flags]

Four ranks of this process are two nodes of two. The link of each rank to the other node is held to a rate by a shaped transport; the links are
measured as NewLayer measures them. By hand rows travel in a format between nodes, and as they are within a node, or in it everywhere. Layers take
turns in every round; a step is a forward and a backward pass, and takes the lower
quartile of -rounds, since all else that the machine does only adds to it. loses is the share of the gain of training that is
predicted to be lost. The last line of a rate says what was chosen, and how long its step is as a multiple of the best by hand that the budget allows.

-json FILE writes an object a line: rate_mbit, format (empty: chosen), within (the format is used within nodes too), step_ms, lost, choice, regret.

Flags:
`

type options struct {
	rounds, tokens, dim, hidden int
	rates                       []int
	budget                      float64

	rateText, jsonFile string
	short              bool
}

func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("auto", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 9, "timed rounds, 1 to 1000; with -short 2")
	f.IntVar(&o.tokens, "tokens", 512, "tokens of each rank, each for two experts")
	f.IntVar(&o.dim, "dim", 512, "columns of a token")
	f.IntVar(&o.hidden, "hidden", 128, "hidden columns of an expert, of which a rank has two")
	f.Float64Var(&o.budget, "budget", 0.1, "share of the gain that may be lost")
	f.StringVar(&o.rateText, "rates", "100,1000,10000", "Mbit/s of each rank's link to the other node")
	f.BoolVar(&o.short, "short", false, "one small case: finish within seconds")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file, one JSON object a line")
	if err := harness.ParseFlags(f, usage, args, stdout); err != nil {
		return o, err
	}
	if o.short {
		o.rounds, o.rateText, o.tokens, o.dim, o.hidden = 2, "2000", 32, 64, 16
	}
	return o, o.resolve()
}

func (o *options) resolve() error {
	var l harness.Limits
	l.Within("rounds", o.rounds, 1, 1000)
	l.Within("tokens", o.tokens, 1, 1<<16)
	l.Within("dim", o.dim, 1, 1<<14)
	l.Within("hidden", o.hidden, 1, 1<<14)
	if !(o.budget > 0) {
		l.Faults = append(l.Faults, fmt.Errorf("-budget %v: want more than 0", o.budget))
	}
	o.rates = l.Rates(o.rateText, 1_000_000)
	return errors.Join(l.Faults...)
}

// row is what one way of sending rows takes.
type row struct {
	Rate   int     `json:"rate_mbit"`
	Format string  `json:"format"` // empty: chosen
	Within bool    `json:"within"`
	Step   float64 `json:"step_ms"`
	Lost   float64 `json:"lost"`
	Choice string  `json:"choice,omitempty"`
	Regret float64 `json:"regret,omitempty"`
}

// Run is the command.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "auto", err)
	}
	var rows []row
	pace := harness.NewPace(stderr, "auto", len(o.rates), time.Duration(len(o.rates))*5*time.Second)
	for _, rate := range o.rates {
		pace.Next("links of %d Mbit/s", rate)
		var of []row
		if of, err = o.measure(ctx, rate); err != nil {
			break
		}
		o.compare(of)
		rows = append(rows, of...)
	}
	if len(rows) > 0 {
		writeTable(stdout, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows))
	}
	return harness.Conclude(ctx, err, stderr)
}

// compare sets the regret of what was chosen, the last row: its step as a multiple of the shortest
// by hand that the budget allows.
func (o *options) compare(rows []row) {
	var allowed []row
	for _, r := range rows[:len(rows)-1] {
		if r.Lost <= o.budget {
			allowed = append(allowed, r)
		}
	}
	best := slices.MinFunc(allowed, func(a, b row) int { return cmp.Compare(a.Step, b.Step) })
	rows[len(rows)-1].Regret = rows[len(rows)-1].Step / best.Step
}

func writeTable(to io.Writer, rows []row) {
	t := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "Mbit/s\tbetween nodes\twithin\tstep ms\tloses")
	for _, r := range rows {
		if r.Format == "" {
			fmt.Fprintf(t, "%d\tchosen\t\t%.1f\t\n", r.Rate, r.Step)
			continue
		}
		within := "float32"
		if r.Within {
			within = r.Format
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%.1f\t%.3f\n", r.Rate, r.Format, within, r.Step, r.Lost)
	}
	t.Flush()
	for _, r := range rows {
		if r.Format == "" {
			fmt.Fprintf(to, "%d Mbit/s: %s; its step is %.2f × the best by hand\n", r.Rate, r.Choice, r.Regret)
		}
	}
}
