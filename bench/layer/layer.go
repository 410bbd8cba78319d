// Package layer is a command of bench: it times the dispatch and combine of a layer, beside copy.
package layer

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
	"github.com/switchyard-moe/switchyard/bench/internal/transports"
	"github.com/switchyard-moe/switchyard/bench/internal/workload"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `usage: go run ./bench layer [flags]

Times the whole way of a token through a layer but for what its experts compute: Forward and Backward with experts that
return their input as it is, without copying it, and a gate that knows its decision beforehand. Every rank is a
goroutine of this program. Beside it stand goroutines, as many, that copy rows of as many bytes with Go's copy:

  copy    as often as the steps of a layer say: of tokens × k rows a rank,
            1. each token's row to its places in the rows sorted by expert    reads k·T rows, writes k·T
            2. the rows of each expert to the expert's input                  reads k·T rows, writes k·T
            3. and from there back to the rows sorted by expert               reads k·T rows, writes k·T
            4. the rows of each token, one over the other, to the output      reads k·T rows, writes T
  fewest  as seldom as can be, if ranks read each other's memory in place:
            1. each token's row to its places in the experts' inputs          reads k·T rows, writes k·T
            2. from there, one over the other, to the output                  reads k·T rows, writes T

Sources and destinations are of the sizes and at the places that the layer's own would have; neighbouring rows are
copied by one call. Nothing waits for anything, nothing is weighted and nothing added up, as it is in a layer.
Backward goes the same way with the gradient, and besides reads the k·T answers again for the gradient of their weights.

GB/s is 10⁹ bytes a second: 4·k·T rows of 4·dim bytes for each rank (2·k·T for fewest), over the time. of_copy is the
time of copy over that of the layer: 0.8 says that the layer moves its rows at 0.8 times the rate of copy. of_fewest is
the time of fewest over the layer's. All take turns; an iteration takes as long as its slowest rank, and p50 is the median
over all iterations of all rounds. allocs/op counts the allocations of all ranks together.

Before and after the timed iterations of each turn the experts multiply by their number, and every element of what comes
out is held against the sum made by hand; in each timed one, an element of each row. #wrong counts those that differ.

Routes (of the tokens of each rank; every decision is made before the clock runs):
  uniform  the same number of tokens to each expert, in turn
  random   k different experts, each set of them as likely as any other
  zipf     experts as popular as words are: the n-th with probability ∝ 1/n
  hot      a quarter of the tokens to expert 0

-json FILE writes an object a line: transport, router, ranks, tokens, dim, experts, k, pass (forward, backward),
p50_us, gbps, copy_us, copy_gbps, of_copy, fewest_us, fewest_gbps, of_fewest, allocs_per_op, wrong, version.

Example:
  go run ./bench layer -tokens 4096 -dim 1024 -experts 16 -k 2 -ranks 4

Flags:
`

// options are the flags of layer.
type options struct {
	transports, routers []string
	workload.Shape
	ranks                       int
	rounds, iterations          int
	short                       bool
	jsonFile                    string
	transportList, routersNamed string
}

// Run is the command "layer".
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "layer", err)
	}
	return harness.Conclude(ctx, o.compare(ctx, stdout, stderr), stderr)
}

func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("layer", flag.ContinueOnError)
	f.StringVar(&o.transportList, "transport", transports.Inproc, "transports to measure, of "+strings.Join(meshNames(), ","))
	f.StringVar(&o.routersNamed, "router", "uniform,random", "routes to measure, of "+strings.Join(workload.RouteNames(), ","))
	f.IntVar(&o.ranks, "ranks", 4, "number of ranks, 1 to 64")
	f.IntVar(&o.Tokens, "tokens", 4096, "tokens of each rank")
	f.IntVar(&o.Dim, "dim", 1024, "columns of a token")
	f.IntVar(&o.Experts, "experts", 16, "experts over all ranks")
	f.IntVar(&o.K, "k", 2, "experts of each token")
	f.IntVar(&o.rounds, "rounds", 5, "how many turns each contestant takes, 1 to 1000; with -short 2")
	f.IntVar(&o.iterations, "iters", 0, "timed iterations a turn, up to 1000000; 0: by the bytes that move")
	f.BoolVar(&o.short, "short", false, "finish within seconds; the figures mean little then")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file, one JSON object a line")
	if err := harness.ParseFlags(f, usage, args, stdout); err != nil {
		return o, err
	}
	roundsGiven := false
	f.Visit(func(f *flag.Flag) { roundsGiven = roundsGiven || f.Name == "rounds" })
	if o.short && !roundsGiven {
		o.rounds = 2
	}
	return o, o.resolve()
}

// resolve turns lists into what they name, and reports every fault.
func (o *options) resolve() error {
	var faults []error
	check := func(name string, n, least, most int) {
		if n < least || n > most {
			faults = append(faults, fmt.Errorf("-%s %d: want %d to %d", name, n, least, most))
		}
	}
	check("ranks", o.ranks, 1, 64)
	check("tokens", o.Tokens, 1, 1<<20)
	check("dim", o.Dim, 1, 1<<20)
	check("experts", o.Experts, 1, 1<<12)
	check("k", o.K, 1, max(o.Experts, 1))
	check("rounds", o.rounds, 1, 1000)
	check("iters", o.iterations, 0, 1e6)
	if bytes := o.rowBytes() * o.ranks; len(faults) == 0 && bytes > harness.MaxRankBytes {
		faults = append(faults, fmt.Errorf("%d ranks × %d tokens × %d experts × %d columns are %d bytes, want at most %d",
			o.ranks, o.Tokens, o.K, o.Dim, bytes, harness.MaxRankBytes))
	}
	o.transports = harness.Names("-transport", o.transportList, meshNames(), &faults)
	o.routers = harness.Names("-router", o.routersNamed, workload.RouteNames(), &faults)
	if slices.Contains(o.routers, "hot") && o.K >= o.Experts {
		faults = append(faults, fmt.Errorf("-router hot: wants -k %d below -experts %d", o.K, o.Experts))
	}
	return errors.Join(faults...)
}

// rowBytes is the size of the rows that one rank sends.
func (o options) rowBytes() int { return 4 * o.K * o.Tokens * o.Dim }

// timed is the number of timed iterations of a turn.
func (o options) timed() int {
	if o.iterations != 0 {
		return o.iterations
	}
	return harness.IterationsFor(4*int64(o.rowBytes())*int64(o.ranks), o.short)
}

// compare measures every case and prints the outcome. Wrong elements are an error, in spite of
// which it is printed.
func (o options) compare(ctx context.Context, stdout, progress io.Writer) (err error) {
	before := harness.Load()
	rows, stopped := o.measureAll(ctx, progress)
	if len(rows) == 0 {
		return stopped
	}
	wrong := 0
	for _, r := range rows {
		wrong += r.Wrong
	}
	writeTable(stdout, o, before, rows)
	err = errors.Join(stopped, harness.WriteJSONLines(o.jsonFile, rows))
	if wrong > 0 {
		err = errors.Join(err, fmt.Errorf("%d wrong elements", wrong))
	}
	return err
}

// measureAll measures every case, and returns those that it has measured where one fails.
func (o options) measureAll(ctx context.Context, progress io.Writer) (rows []row, err error) {
	cases := len(o.transports) * len(o.routers)
	p := harness.NewPace(progress, "layer", cases, harness.Times(cases, o.expected()))
	for _, transport := range o.transports {
		for _, route := range o.routers {
			p.Next("%s, %s", transport, route)
			group, err := o.measure(ctx, transport, route)
			if rows = append(rows, group...); err != nil {
				return rows, fmt.Errorf("%s, %s: %w", transport, route, err)
			}
		}
	}
	return rows, nil
}

// expected is about how long one case takes: its turns move rows as often, at some 4 GB a second.
func (o options) expected() time.Duration {
	once := 100*time.Microsecond + time.Duration(4*o.rowBytes()*o.ranks/4)
	n := o.timed()
	return time.Second + harness.Times(o.rounds*(n+warmup(n)+2)*3, once)
}
