package balance

import (
	"errors"
	"flag"
	"io"
	"strings"

	"github.com/switchyard-moe/switchyard/alltoall"
	alloc "github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/workload"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Compares planners that share out the experts of a layer whose load is uneven.

usage: go run ./bench balance [flags]

Needs root and Linux, but for -plan-only. Every rank is a process in a network namespace, behind a link held to each of -rates by
token buckets in both directions, with an equal share of the processors (a quota of a control group). A load says how tokens choose
experts: even; zipf, expert e in proportion to (e+1)^-1.2; hot, a third of all choices for one expert (or every token's first);
lognormal, popularities from a lognormal distribution whose width is found by bisection so that the busiest rank has -skew times the
mean; and trace, the routes of the first layer in the file -trace, which -record of examples/train writes (with -init of a trained
model and -lr 0 those of many steps).

A step is a forward and a backward pass of a layer of SwiGLU experts, begun when all ranks are ready, and takes as long as its slowest
rank. The planners take turns, beside the even load without sharing; a time is the median of the rounds. The bits of outputs and
gradients are compared between planners. 95% is the interval of the ratio to plain, by the rounds in pairs (Student's t of logarithms).
peak is the most memory of a rank's process that runs a planner alone, and after it as a multiple of that without sharing under the
even load.

Planners: plain shares nothing; llep, moonep, ultraep and eplb decide as these systems do, always and with the same limits; balanced
is the library's own, behind its gate.

With -plan-only nothing is sent or computed: each planner plans the batches of -steps steps, by what rows and parameters cost on links
of each rate and ranks of -gflops. max/mean is that of rows of a rank, before and after; step is predicted; copies are runs computed
by another rank than the home.

-json FILE writes an object a line: who, load, link_mbps, ranks, p50_ms (with -plan-only predicted), peak_bytes, plan_us (the median),
of_even and of_plain (p50_ms as a multiple of that of the even load, and of the load, without sharing), before and after (max/mean),
ratio_low and ratio_high (the 95 % interval of the paired ratio to the load without sharing), peak_of_even (peak_bytes as a multiple),
copies, moved (the part of rows that is computed elsewhere) and moved_bytes (of parameters and gradients), as planned by -gflops.

Flags:
`

// options are the flags of balance.
type options struct {
	Ranks, Tokens, Dim, Hidden int
	Experts, K, Group, Slots   int
	Steps, Gflops, Rounds      int
	Rates                      []int
	Loads, Planners            []string
	Skew                       float64
	Trace                      string

	short, planOnly                 bool
	rateText, loadText, plannerText string
	jsonFile                        string
}

func newFlags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("balance", flag.ContinueOnError)
	f.BoolVar(&o.planOnly, "plan-only", false, "plan, without sending and computing")
	f.IntVar(&o.Ranks, "ranks", 4, "ranks, 2 to 64")
	f.IntVar(&o.Tokens, "tokens", 4096, "tokens of each rank")
	f.IntVar(&o.Dim, "dim", 512, "columns of a token")
	f.IntVar(&o.Hidden, "hidden", 1024, "hidden columns of an expert (SwiGLU)")
	f.IntVar(&o.Experts, "experts", 16, "experts of all ranks")
	f.IntVar(&o.K, "k", 2, "experts of a token")
	f.IntVar(&o.Group, "group", 128, "tokens of a token group, whose gradients are summed apart")
	f.IntVar(&o.Slots, "slots", 4, "runs of other ranks' experts that a rank computes at most")
	f.IntVar(&o.Steps, "steps", 8, "steps, each with a batch of its own; with -short 2")
	f.IntVar(&o.Rounds, "rounds", 7, "timed rounds, 1 to 1000; with -short 2")
	f.IntVar(&o.Gflops, "gflops", 25, "Gflop/s of a rank, by which plans are made that are not timed")
	f.StringVar(&o.rateText, "rates", "250,1000,10000", "Mbit/s of the links")
	f.StringVar(&o.loadText, "load", "even,zipf,hot", "loads, of "+strings.Join(workload.LoadNames(), ","))
	f.StringVar(&o.plannerText, "planners", strings.Join(plannerNames(), ","), "planners")
	f.Float64Var(&o.Skew, "skew", 2, "lognormal: rows of the busiest rank, as a multiple of the mean")
	f.StringVar(&o.Trace, "trace", "", "trace: the `file`")
	f.BoolVar(&o.short, "short", false, "a small case: finish within seconds")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file, one JSON object a line")
	return f
}

func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	if err := harness.ParseFlags(newFlags(&o), usage, args, stdout); err != nil {
		return o, err
	}
	if o.short {
		o.Tokens, o.Dim, o.Hidden, o.Group, o.Steps, o.Rounds, o.rateText = 256, 64, 64, 32, 2, 2, "1000"
	}
	return o, o.resolve()
}

// resolve turns texts into what they name, and reports every fault.
func (o *options) resolve() error {
	var l harness.Limits
	most := 64
	if !o.planOnly {
		most = 16
	}
	l.Within("ranks", o.Ranks, 2, most)
	l.Within("rounds", o.Rounds, 1, 1000)
	l.Within("tokens", o.Tokens, 1, 1<<20)
	l.Within("dim", o.Dim, 1, 1<<16)
	l.Within("hidden", o.Hidden, 1, 1<<16)
	l.Within("experts", o.Experts, 2, 1024)
	l.Within("k", o.K, 1, max(o.Experts, 1))
	l.Within("group", o.Group, 1, 1<<20)
	l.Within("slots", o.Slots, 0, 1024)
	l.Within("steps", o.Steps, 1, 1000)
	l.Within("gflops", o.Gflops, 1, 1<<20)
	o.Rates = l.Rates(o.rateText, 100_000)
	o.Loads = harness.Names("-load", o.loadText, workload.LoadNames(), &l.Faults)
	o.Planners = harness.Names("-planners", o.plannerText, plannerNames(), &l.Faults)
	return errors.Join(l.Faults...)
}

// load returns a load that is ready.
func (o *options) load(name string) (*workload.Load, error) {
	l := &workload.Load{Name: name, Experts: o.Experts, K: o.K, Ranks: o.Ranks, Skew: o.Skew, Trace: o.Trace}
	return l, l.Open()
}

// plannerNames lists the planners, plain first.
func plannerNames() []string {
	return []string{"plain", "llep", "moonep", "ultraep", "eplb", "balanced"}
}

// planner makes a planner.
func planner(name string) alloc.Planner {
	switch name {
	case "llep":
		return &alloc.Spill{}
	case "moonep":
		return &alloc.Exact{}
	case "ultraep":
		return &alloc.Threshold{}
	case "eplb":
		return &alloc.Copies{}
	case "balanced":
		return &alloc.Gated{Planner: &alloc.Makespan{}}
	}
	return alloc.Plain{}
}

// limits are those that all planners keep.
func (o *options) limits() alltoall.Limits { return alltoall.Limits{Slots: o.Slots} }
