// Package recipe is a command of bench: it times dispatch and combine beside the usual recipe in
// torch.
package recipe

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/peers"
	"github.com/switchyard-moe/switchyard/bench/internal/transports"
	"github.com/switchyard-moe/switchyard/bench/internal/workload"
	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Times a layer's dispatch and combine, forward, beside the usual way to write them with torch: index_select,
all_to_all_single over Gloo, there and back, and index_add.

usage: go run ./bench recipe [flags]

Every rank is a process. Experts return what they get; every token goes to -k random experts. All take turns; an iteration takes as
long as its slowest rank, and p50 is the median over all iterations of all rounds. Every element of what comes out last is checked.
Without torch (apt-get install python3-torch libopenblas0) only ours is timed.

-json FILE writes an object a line: who, version, ranks, tokens, dim, experts, k, p50_us, speedup (torch's time over this), wrong.

Flags:
`

// recipeScript is the recipe in torch.
//
//go:embed recipe.py
var recipeScript []byte

type options struct {
	Ranks, Tokens, Dim, Experts, K, Iterations, Rounds int
	Transports                                         []string

	transportText, jsonFile string
	short                   bool
}

func newFlags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("recipe", flag.ContinueOnError)
	f.IntVar(&o.Ranks, "ranks", 4, "number of ranks, 2 to 64")
	f.IntVar(&o.Tokens, "tokens", 4096, "tokens of each rank")
	f.IntVar(&o.Dim, "dim", 1024, "columns of a token")
	f.IntVar(&o.Experts, "experts", 16, "experts over all ranks, a multiple of them")
	f.IntVar(&o.K, "k", 2, "experts of each token")
	f.IntVar(&o.Iterations, "iters", 20, "timed iterations a turn")
	f.IntVar(&o.Rounds, "rounds", 3, "how many turns each contestant takes")
	f.StringVar(&o.transportText, "transport", "hybrid,tcp", "our transports to measure")
	f.BoolVar(&o.short, "short", false, "64 tokens, 2 iterations, 1 round: finish within seconds")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file, one JSON object a line")
	return f
}

// recipeReport is what a rank says.
type recipeReport struct {
	Rank    int
	Took    []int64
	Wrong   int
	Version string
}

// row is a contestant's outcome, and a line of the JSON file.
type row struct {
	Who     string  `json:"who"`
	Version string  `json:"version"`
	Ranks   int     `json:"ranks"`
	Tokens  int     `json:"tokens"`
	Dim     int     `json:"dim"`
	Experts int     `json:"experts"`
	K       int     `json:"k"`
	P50     float64 `json:"p50_us"`
	Speedup float64 `json:"speedup"`
	Wrong   int     `json:"wrong"`

	command []string
	took    []time.Duration
}

const rankArg = harness.RankArg

// Run is the command.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == rankArg {
		return runRank(ctx, args[1:], stdout, stderr)
	}
	var o options
	err := harness.ParseFlags(newFlags(&o), usage, args, stdout)
	if o.short {
		o.Tokens, o.Iterations, o.Rounds = 64, 2, 1
	}
	if err == nil {
		err = o.resolve()
	}
	if err != nil {
		return harness.NotRun(stderr, "recipe", err)
	}
	rows, err := o.measure(ctx, stderr)
	if len(rows) > 0 {
		writeTable(stdout, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows))
		for _, r := range rows {
			if r.Wrong > 0 {
				err = errors.Join(err, fmt.Errorf("%s: %d wrong elements", r.Who, r.Wrong))
			}
		}
	}
	return harness.Conclude(ctx, err, stderr)
}

func (o *options) resolve() error {
	var l harness.Limits
	l.Within("ranks", o.Ranks, 2, 64)
	l.Within("tokens", o.Tokens, 1, 1<<20)
	l.Within("dim", o.Dim, 1, 1<<16)
	l.Within("experts", o.Experts, 1, 1<<12)
	l.Within("k", o.K, 1, o.Experts)
	l.Within("iters", o.Iterations, 1, 1<<20)
	l.Within("rounds", o.Rounds, 1, 1000)
	if len(l.Faults) == 0 && o.Experts%o.Ranks != 0 {
		l.Faults = append(l.Faults, fmt.Errorf("-experts %d: want a multiple of -ranks %d", o.Experts, o.Ranks))
	}
	o.Transports = strings.Split(o.transportText, ",")
	for _, t := range o.Transports {
		if _, ok := transports.Joiners()[t]; !ok || t == transports.MPI {
			l.Faults = append(l.Faults, fmt.Errorf("-transport %q: want one or more that processes can join", t))
		}
	}
	return errors.Join(l.Faults...)
}

// measure lets the contestants take turns.
func (o *options) measure(ctx context.Context, stderr io.Writer) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "switchyard-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if rows, err = o.contestants(ctx, dir, stderr); err != nil {
		return nil, err
	}
	stopped := o.turns(ctx, rows, stderr)
	// where it was stopped before
	rows = slices.DeleteFunc(rows, func(r row) bool { return len(r.took) == 0 })
	for i := range rows {
		slices.Sort(rows[i].took)
		rows[i].P50 = harness.Microseconds(harness.Percentile(rows[i].took, 0.5))
	}
	if n := len(rows); n > 0 && rows[n-1].Who == peers.Torch {
		for i := range rows {
			rows[i].Speedup = rows[n-1].P50 / rows[i].P50
		}
	}
	return rows, stopped
}

// expected is about how long all turns take: ours move 1.5 GB a second, and torch a fifth of that.
func (o *options) expected(rows []row) (all time.Duration) {
	once := time.Duration(4 * o.Ranks * o.Tokens * o.K * o.Dim * 2 / 3)
	for _, r := range rows {
		if each := 500*time.Millisecond + harness.Times(o.Iterations+2, once); r.Who == peers.Torch {
			all += harness.Times(o.Rounds, 3*time.Second+5*each)
		} else {
			all += harness.Times(o.Rounds, each)
		}
	}
	return all
}

// turns has each contestant run once a round.
func (o *options) turns(ctx context.Context, rows []row, stderr io.Writer) error {
	p := harness.NewPace(stderr, "recipe", o.Rounds*len(rows), o.expected(rows))
	for round := range o.Rounds {
		for i := range rows {
			p.Next("round %d of %d: %s", round+1, o.Rounds, rows[i].Who)
			if err := o.turn(ctx, &rows[i]); err != nil {
				return fmt.Errorf("%s: %w", rows[i].Who, err)
			}
		}
	}
	return nil
}

// contestants are our transports, and torch where there is one.
func (o *options) contestants(ctx context.Context, dir string, stderr io.Writer) (rows []row, err error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	add := func(who string, command ...string) {
		rows = append(rows, row{Who: who, Ranks: o.Ranks, Tokens: o.Tokens, Dim: o.Dim, Experts: o.Experts, K: o.K, command: command})
	}
	for _, t := range o.Transports {
		add(harness.Name+"-"+t, self, "recipe", rankArg, t, string(text))
	}
	script := filepath.Join(dir, "recipe.py")
	if err := os.WriteFile(script, recipeScript, 0o600); err != nil {
		return nil, err
	}
	var missing error
	for _, python := range peers.Pythons() {
		if missing = peers.HasTorch(ctx, python); missing == nil {
			command := []string{python, script}
			for _, n := range []int{o.Tokens, o.Dim, o.Experts, o.K, o.Iterations} {
				command = append(command, strconv.Itoa(n))
			}
			add(peers.Torch, command...)
			return rows, nil
		}
	}
	fmt.Fprintf(stderr, "bench: skipped %s: to compare with it: apt-get install python3-torch libopenblas0\n", peers.Torch)
	return rows, nil
}

// turn runs a contestant's ranks once.
func (o *options) turn(ctx context.Context, r *row) error {
	var out, complaints bytes.Buffer
	if err := launch.Run(ctx, launch.Config{Ranks: o.Ranks, Command: r.command, Stdout: &out, Stderr: &complaints}); err != nil {
		return fmt.Errorf("%w%s", err, harness.Quoted(complaints.String()))
	}
	slowest := make([]time.Duration, o.Iterations)
	d := json.NewDecoder(&out)
	for range o.Ranks {
		var report recipeReport
		if err := d.Decode(&report); err != nil {
			return fmt.Errorf("a rank's report: %w", err)
		}
		if len(report.Took) != o.Iterations {
			return fmt.Errorf("rank %d timed %d iterations, want %d", report.Rank, len(report.Took), o.Iterations)
		}
		for i, t := range report.Took {
			slowest[i] = max(slowest[i], time.Duration(t))
		}
		r.Wrong += report.Wrong
		r.Version = report.Version
	}
	r.took = append(r.took, slowest...)
	return nil
}

// runRank is one of our ranks.
func runRank(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	report, err := rank(ctx, args)
	return harness.Answer(ctx, report, err, stdout, stderr)
}

func rank(ctx context.Context, args []string) (report recipeReport, err error) {
	var o options
	if len(args) != 2 {
		return report, fmt.Errorf("recipe %s is for bench itself", rankArg)
	}
	if err := json.Unmarshal([]byte(args[1]), &o); err != nil {
		return report, err
	}
	t, err := transports.Joiners()[args[0]](ctx)
	if err != nil {
		return report, err
	}
	r, err := workload.NewRank(t, workload.Shape{Tokens: o.Tokens, Dim: o.Dim, Experts: o.Experts, K: o.K}, "random")
	if err != nil {
		return report, errors.Join(err, t.Close())
	}
	defer func() { err = errors.Join(err, r.World.Close()) }()
	report = recipeReport{Rank: int(t.Rank()), Version: harness.Version()}
	all := o.Iterations + max(o.Iterations/10, 2)
	for i := range all {
		// Only the way there and back is timed: the forward pass before has no gradient.
		if err := errors.Join(r.Layer.Discard(), r.World.Comm().Barrier(ctx)); err != nil {
			return report, err
		}
		begin := time.Now()
		if err := r.Forward(ctx, i); err != nil {
			return report, err
		}
		report.Took = append(report.Took, int64(time.Since(begin)))
	}
	report.Wrong = wrongForward(r, all-1)
	report.Took = report.Took[all-o.Iterations:]
	return report, r.World.Comm().Barrier(ctx)
}

// wrongForward counts the elements that a forward pass got wrong.
func wrongForward(r *workload.Rank, iteration int) (wrong int) {
	x := r.Tokens[iteration%2]
	for t := range r.Entries {
		for c := t * x.Cols; c < (t+1)*x.Cols; c++ {
			if y, _ := r.Expected(t, x.Data[c], 0); r.Y.Data[c] != y {
				wrong++
			}
		}
	}
	return wrong
}

func writeTable(stdout io.Writer, rows []row) {
	r := rows[0]
	fmt.Fprintf(stdout, "# dispatch and combine, forward: %d ranks of %d tokens × %d, %d experts, k = %d\n", r.Ranks, r.Tokens, r.Dim, r.Experts, r.K)
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "who\tp50(ms)\ttorch ÷ this\t#wrong\t")
	for _, r := range rows {
		speedup := "-"
		if r.Speedup > 0 {
			speedup = fmt.Sprintf("%.2f", r.Speedup)
		}
		fmt.Fprintf(w, "%s\t%.2f\t%s\t%d\t\n", r.Who, r.P50/1e3, speedup, r.Wrong)
	}
	w.Flush()
}
