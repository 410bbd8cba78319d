// Package step is a command of bench: it times whole training steps of a stack of layers with
// copies of their experts, with gradients summed at the end of the step and in the gaps of the
// links.
package step

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Times whole steps of a stack of layers on slow links: forward, backward, and Step of each layer, with copies of the experts, whose gradients
the ranks sum: at the end of the step, or in pieces in the gaps of the links (Config.Overlap.GradientPiece).

usage: go run ./bench step [flags]

Needs root and Linux. Every rank is a process in a network namespace of its own, behind a link held to a rate by token buckets (tc tbf) in
both directions. Layers are top-k over SwiGLU experts, one after the other with residual connections, and exchange rows in -overlap chunks.
Both ways take turns, on stacks of the same parameters; their results are compared bit by bit.

step is the median round's slowest rank, sync what Step of all layers takes of it. compute is the same step with the sums at its end on links
that are not limited, link what the bytes that a rank sends take at the rate. bound is the larger of the two plus the sums of one layer, which
has nothing after it. sync(MB) is what a rank sends in Step of all layers, and not before. speedup is that over sums at the end.

-json FILE writes an object a line: rate_mbit, ranks, copies, layers, tokens, dim, hidden, experts, k, overlap, piece_bytes (0: at the end),
step_ms, sync_ms, compute_ms, link_ms, sum_ms (of one layer), bound_ms, of_bound, sent_bytes, sync_bytes, speedup.

Flags:
`

// options are the flags of step.
type options struct {
	Ranks, Copies, Layers, Rounds   int
	Tokens, Dim, Hidden, Experts, K int
	Overlap, Piece                  int
	Free                            bool // links are not limited, and sums are at the end
	rates                           []int
	rateText, jsonFile              string
	short                           bool
}

func newFlags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("step", flag.ContinueOnError)
	f.IntVar(&o.Ranks, "ranks", 4, "ranks, 2 to 16")
	f.IntVar(&o.Copies, "copies", 2, "copies of the experts, of as many ranks each")
	f.IntVar(&o.Layers, "layers", 8, "layers, 1 to 64")
	f.IntVar(&o.Rounds, "rounds", 5, "timed rounds, 1 to 1000; with -short 2")
	f.IntVar(&o.Tokens, "tokens", 4096, "tokens of each rank")
	f.IntVar(&o.Dim, "dim", 256, "columns of a token")
	f.IntVar(&o.Hidden, "hidden", 512, "hidden columns of an expert")
	f.IntVar(&o.Experts, "experts", 16, "experts of a layer, 1 to 1024")
	f.IntVar(&o.K, "k", 2, "experts of each token")
	f.IntVar(&o.Overlap, "overlap", 4, "chunks of an exchange, 1 to 64")
	f.IntVar(&o.Piece, "piece", 1<<20, "bytes of pieces of sums on their way, 1 to 16777216")
	f.StringVar(&o.rateText, "rates", "250", "Mbit/s of the links")
	f.BoolVar(&o.short, "short", false, "one small case: finish within seconds")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file, one JSON object a line")
	return f
}

func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	if err := harness.ParseFlags(newFlags(&o), usage, args, stdout); err != nil {
		return o, err
	}
	if o.short {
		o.Rounds, o.Layers, o.Tokens, o.Dim, o.Hidden, o.rateText = 2, 3, 64, 32, 32, "1000"
	}
	return o, o.resolve()
}

// resolve turns texts into what they name, and reports every fault.
func (o *options) resolve() error {
	var l harness.Limits
	l.Within("ranks", o.Ranks, 2, 16)
	l.Within("copies", o.Copies, 1, 16)
	l.Within("layers", o.Layers, 1, 64)
	l.Within("rounds", o.Rounds, 1, 1000)
	l.Within("tokens", o.Tokens, 1, 1<<20)
	l.Within("dim", o.Dim, 1, 1<<16)
	l.Within("hidden", o.Hidden, 1, 1<<16)
	l.Within("experts", o.Experts, 1, 1024)
	l.Within("k", o.K, 1, max(o.Experts, 1))
	l.Within("overlap", o.Overlap, 1, 64)
	l.Within("piece", o.Piece, 1, 1<<24)
	if o.Copies > 0 && o.Ranks%o.Copies != 0 {
		l.Faults = append(l.Faults, fmt.Errorf("-copies %d: want a divisor of the %d ranks", o.Copies, o.Ranks))
	}
	o.rates = l.Rates(o.rateText, 100_000)
	return errors.Join(l.Faults...)
}

// Run is the command.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == harness.RankArg {
		return runRank(ctx, args[1:], stdout, stderr)
	}
	o, err := parseOptions(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "step", err)
	}
	rows, err := o.measure(ctx, stderr)
	if len(rows) > 0 {
		writeTable(stdout, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows))
	}
	return harness.Conclude(ctx, err, stderr)
}

// expected is about how long it takes, on two cores.
func (o *options) expected() time.Duration {
	weights := float64(3 * o.Dim * o.Hidden)
	compute := float64(o.Tokens*o.K*o.Ranks) * weights * 6 / 50e9
	bits := float64(32*4*o.Tokens*o.K*o.Dim) + 64*weights*float64(o.Experts*o.Copies)/float64(o.Ranks)
	seconds := 2 * compute * float64(o.Rounds+1)
	for _, rate := range o.rates {
		seconds += 2 * (compute + bits/float64(rate*1_000_000)) * float64(o.Rounds+1)
	}
	return time.Duration(seconds * float64(o.Layers) * float64(time.Second))
}

// measure runs the ranks with free links, and then at each rate.
func (o *options) measure(ctx context.Context, stderr io.Writer) (rows []row, err error) {
	p := harness.NewPace(stderr, "step", len(o.rates)+1, o.expected())
	c, err := netns.New(ctx, o.Ranks, 1, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Remove()) }()
	ctx, cancel := context.WithTimeout(ctx, netns.RunLimit)
	defer cancel()
	p.Next("links that are not limited")
	free := *o
	free.Free = true
	computing, err := free.run(ctx, c, stderr)
	if err != nil {
		return nil, err
	}
	for _, rate := range o.rates {
		p.Next("links of %d Mbit/s", rate)
		if err := c.Limit(ctx, rate); err != nil {
			return rows, err
		}
		ways, err := o.run(ctx, c, stderr)
		if err != nil {
			return rows, err
		}
		rows = append(rows, o.rowsOf(rate, computing[0], ways)...)
	}
	return rows, nil
}

// run runs the ranks, and returns what they have seen of each way to sum.
func (o *options) run(ctx context.Context, c *netns.Cluster, stderr io.Writer) ([]way, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := launch.Run(ctx, launch.Config{
		Ranks: o.Ranks, Command: c.Command(self, "step", harness.RankArg, string(text)), Stdout: &out, Stderr: harness.UntilDone(ctx, stderr),
	}); err != nil {
		return nil, err
	}
	return o.collect(&out)
}
