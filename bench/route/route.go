// Package route is a command of bench: it times the routing of tokens, beside torch.
package route

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/peers"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `usage: go run ./bench route [flags]

Times how many tokens a second a gate routes, the product that makes the logits excluded: both sides get the same logits. Ours
is the top-k gate with the softmax over all experts, from logits to an assignment sorted by expert with its weights and
counts. torch, on one thread, does softmax, topk, and the argsort by expert that dispatch needs, and no more.
They take turns in one run; figures are medians over all calls of all rounds, and both must find the same counts.

Flags:
`

// options are the flags of route.
type options struct {
	tokens, dim        int
	experts, ks        []int
	rounds, iterations int
	peer, jsonFile     string
	pythons            []string // interpreters that may have torch
}

// Run is the command "route".
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "route", err)
	}
	return harness.Conclude(ctx, o.compare(ctx, stdout, stderr), stderr)
}

func parse(args []string, stdout io.Writer) (options, error) {
	o := options{experts: []int{8, 64, 256}, ks: []int{1, 2, 8}, pythons: peers.Pythons()}
	f := flag.NewFlagSet("route", flag.ContinueOnError)
	f.IntVar(&o.tokens, "tokens", 8192, "tokens of a batch")
	f.IntVar(&o.dim, "dim", 1024, "columns of a token; nothing that is timed depends on it")
	f.IntVar(&o.rounds, "rounds", 5, "how many turns each contestant takes in each case")
	f.IntVar(&o.iterations, "iters", 20, "timed calls a turn")
	f.StringVar(&o.peer, "peers", peers.Torch, "what to compare with: torch or none")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file, one JSON object a line")
	err := harness.ParseFlags(f, usage, args, stdout)
	return o, errors.Join(err, o.faults())
}

// faults returns what is wrong with the flags.
func (o options) faults() error {
	var faults []error
	for name, n := range map[string]int{"tokens": o.tokens, "dim": o.dim, "rounds": o.rounds, "iters": o.iterations} {
		if n < 1 || n > 1<<20 {
			faults = append(faults, fmt.Errorf("-%s %d: want 1 to %d", name, n, 1<<20))
		}
	}
	if o.peer != peers.Torch && o.peer != "none" {
		faults = append(faults, fmt.Errorf("-peers %q: want %s or none", o.peer, peers.Torch))
	}
	return errors.Join(faults...)
}

// turn is a contestant's result of a turn: how many tokens chose each expert, the time of each
// call, and the allocations of all of them, or -1 where they are not counted.
type turn struct {
	counts []int
	took   []time.Duration
	allocs int
}

// contestant is who routes.
type contestant interface {
	name() string
	version() string
	// turn routes the logits, tokens × experts, in file, which holds float32 in the machine's order.
	turn(file string, tokens, experts, k, iterations int) (turn, error)
	io.Closer
}

// compare runs all cases and prints the outcome.
func (o options) compare(ctx context.Context, stdout, progress io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "switchyard-bench-route-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	contestants, skipped := o.gather(ctx, dir)
	defer func() {
		for _, c := range contestants {
			err = errors.Join(err, c.Close())
		}
	}()
	rows, stopped := o.duels(ctx, contestants, dir, progress)
	if len(rows) == 0 {
		return stopped
	}
	writeTable(stdout, o, skipped, rows)
	return errors.Join(stopped, harness.WriteJSONLines(o.jsonFile, rows))
}

// duels runs all cases, and returns those that it has run where one fails.
func (o options) duels(ctx context.Context, contestants []contestant, dir string, progress io.Writer) (rows []row, err error) {
	p := harness.NewPace(progress, "route", len(o.experts)*len(o.ks), o.expected(len(contestants)))
	for _, experts := range o.experts {
		file := filepath.Join(dir, fmt.Sprint(experts))
		if err := writeLogits(file, o.tokens, experts); err != nil {
			return rows, err
		}
		for _, k := range o.ks {
			p.Next("%d experts, k = %d", experts, k)
			group, err := o.duel(ctx, contestants, file, experts, k)
			if err != nil {
				return rows, err
			}
			rows = append(rows, group...)
		}
	}
	return rows, nil
}

// expected is about how long all cases take: 10 ns a score for us, and 50 for torch.
func (o options) expected(contestants int) (all time.Duration) {
	for _, experts := range o.experts {
		scores := o.tokens * experts
		each := time.Duration(10 * scores)
		if contestants > 1 {
			each += time.Duration(50 * scores)
		}
		all += harness.Times(len(o.ks)*o.rounds*o.iterations, each)
	}
	return all
}

// gather returns who takes part, and why others do not.
func (o options) gather(ctx context.Context, dir string) (contestants []contestant, skipped string) {
	contestants = append(contestants, our{dim: o.dim})
	if o.peer != peers.Torch {
		return contestants, ""
	}
	torch, err := startTorch(ctx, dir, o.pythons)
	if err != nil {
		return contestants, fmt.Sprintf("skipped %s: %v", peers.Torch, err)
	}
	return append(contestants, torch), ""
}

// duel lets the contestants take turns in one case.
func (o options) duel(ctx context.Context, contestants []contestant, file string, experts, k int) ([]row, error) {
	took := make([][]time.Duration, len(contestants))
	allocs := make([]int, len(contestants))
	var counts []int
	for round := range o.rounds {
		for i := range contestants {
			i = (i + round) % len(contestants) // nobody is always the first
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			t, err := contestants[i].turn(file, o.tokens, experts, k, o.iterations)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", contestants[i].name(), err)
			}
			if counts == nil {
				counts = t.counts
			}
			if !slices.Equal(counts, t.counts) {
				return nil, fmt.Errorf("%d experts, k = %d: %s finds other counts", experts, k, contestants[i].name())
			}
			took[i], allocs[i] = append(took[i], t.took...), allocs[i]+t.allocs
		}
	}
	rows := make([]row, len(contestants))
	for i, c := range contestants {
		p50 := harness.Median(took[i])
		rows[i] = row{
			Who: c.name(), Version: c.version(), Tokens: o.tokens, Dim: o.dim, Experts: experts, K: k, P50: harness.Microseconds(p50),
			TokensPerSecond: math.Round(float64(o.tokens) / p50.Seconds()), Allocs: perCall(allocs[i], o.rounds*o.iterations),
		}
		rows[i].Ratio = rows[i].P50 / rows[0].P50
	}
	return rows, nil
}

// writeLogits fills a file with logits of the standard normal distribution.
func writeLogits(file string, tokens, experts int) error {
	r := rand.New(rand.NewPCG(1, uint64(experts)))
	data := make([]byte, 0, 4*tokens*experts)
	for range tokens * experts {
		data = binary.NativeEndian.AppendUint32(data, math.Float32bits(float32(r.NormFloat64())))
	}
	return os.WriteFile(file, data, 0o600)
}

// perCall is a whole number of allocations, or -1 where they were not counted.
func perCall(allocs, calls int) int {
	if allocs < 0 {
		return -1
	}
	return allocs / calls
}
