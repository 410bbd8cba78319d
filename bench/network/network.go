// Package network is a command of bench: it times the exchange algorithms on a cluster of network
// namespaces.
package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Times the exchange algorithms of a layer on a small cluster within this machine, and holds Auto and its predictions against them.

usage: go run ./bench network [flags]

Needs root and Linux. Every node is a network namespace, behind a link held to -rate by token buckets (tc tbf) in both directions; its
ranks are processes that share memory. Links are measured first, as World.MeasureLinks does. Then each case is a dispatch, a wait for
each other, and a combine, timed apart by the slowest rank, in turns: every algorithm once a round. Every row is checked. The namespaces
are removed at the end, also after an interrupt.

Cases are of so many bytes in the mean from each rank to each other one, with rows of up to 4 KiB, spread over experts evenly (uniform), by
a power law of exponent 1.2 (zipf), or half of all for one expert (hot). With -k above 0 a case is that many tokens a rank instead,
each for k different experts at random, of 8 experts a rank: a row for several experts of a node crosses its link once where rails carry it.

regret is by how much the algorithm that Auto takes is slower than the fastest; ratio is the time predicted ÷ measured. sent is the payload
between nodes, of all ranks, in a dispatch.

With -mpi Open MPI's MPI_Alltoallv moves the same bytes there and back over the same links, after ours. Its counts are known to all
beforehand, while a dispatch has to tell them first. It needs openmpi-bin and libopenmpi-dev.

-json FILE writes an object a line: ranks, each, rate_mbit, case, bytes, algorithm, dispatch_us, combine_us, predicted_us, auto (whether
Auto takes it), regret, sent_bytes, wrong.

Flags:
`

// options are the flags of network.
type options struct {
	Nodes, Each, Rate int
	Rounds            int
	Sizes             []int
	Skews             []string
	K, Tokens, Dim    int

	short, mpi         bool
	jsonFile           string
	sizeText, skewText string
}

func newFlags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("network", flag.ContinueOnError)
	f.IntVar(&o.Nodes, "nodes", 4, "nodes, 1 to 16")
	f.IntVar(&o.Each, "each", 2, "ranks of a node, 1 to 16; 32 ranks at most")
	f.IntVar(&o.Rate, "rate", 1000, "Mbit/s of each link, or 0 for as fast as the machine is")
	f.IntVar(&o.Rounds, "rounds", 9, "timed rounds, 1 to 1000; with -short 2")
	f.StringVar(&o.sizeText, "sizes", "64,4Ki,64Ki,1Mi,16Mi", "bytes to each rank; with -short 64,64Ki")
	f.StringVar(&o.skewText, "skew", "uniform,zipf,hot", "how rows are spread over experts, one or more")
	f.IntVar(&o.K, "k", 0, "experts of a token; 0: cases by -sizes")
	f.IntVar(&o.Tokens, "tokens", 1024, "tokens a rank, with -k")
	f.IntVar(&o.Dim, "dim", 1024, "columns of a row, with -k")
	f.BoolVar(&o.mpi, "mpi", false, "time MPI_Alltoallv of Open MPI over the same bytes too")
	f.BoolVar(&o.short, "short", false, "finish within seconds; the figures mean little then")
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
	if o.short && !set["rounds"] {
		o.Rounds = 2
	}
	if o.short && !set["sizes"] {
		o.sizeText = "64,64Ki"
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
	l.Within("k", o.K, 0, expertsEach*max(o.Nodes*o.Each, 1))
	l.Within("tokens", o.Tokens, 1, 1<<20)
	l.Within("dim", o.Dim, 1, 1<<16)
	var err error
	if o.Sizes, err = harness.ParseSizes(o.sizeText); err != nil {
		l.Faults = append(l.Faults, fmt.Errorf("-sizes: %w", err))
	}
	o.Skews = strings.Split(o.skewText, ",")
	for _, s := range o.Skews {
		if _, ok := skews[s]; !ok {
			l.Faults = append(l.Faults, fmt.Errorf("-skew %q: want one or more of uniform,zipf,hot", s))
		}
	}
	if o.mpi && o.K > 0 {
		l.Faults = append(l.Faults, errors.New("-mpi with -k: it times cases by -sizes alone"))
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
		return harness.NotRun(stderr, "network", err)
	}
	rows, err := o.measure(ctx, stdout, stderr)
	if len(rows) > 0 {
		writeTable(stdout, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows), wrongRows(rows))
	}
	return harness.Conclude(ctx, err, stderr)
}

// expected is about how long the ranks take: every algorithm moves all rows of each case there and
// back, round after round, over links that the ranks of a node share.
func (o *options) expected() time.Duration {
	all := 10 * time.Second // for the cluster, and to measure links
	for _, c := range o.cases(0) {
		bits := 8 * float64(c.Bytes) * float64(o.Each*o.Each*max(o.Nodes-1, 1)) * 2
		once := 5*time.Millisecond + time.Duration(bits/float64(max(o.Rate, 1)*1_000_000)*float64(time.Second))
		all += harness.Times((o.Rounds+2)*len(alltoall.Algorithms()), once)
	}
	if o.mpi {
		all += all / 4
	}
	return all
}

// measure makes the cluster, runs the ranks, and removes the cluster.
func (o *options) measure(ctx context.Context, stdout, stderr io.Writer) (rows []networkRow, err error) {
	harness.NewPace(stderr, "network", 1, o.expected())
	c, err := netns.New(ctx, o.Nodes, o.Each, o.Rate)
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
	var out bytes.Buffer
	stopped := launch.Run(ctx, launch.Config{
		Ranks: o.Nodes * o.Each, Command: c.Command(self, "network", rankArg, string(text)), Stdout: &out, Stderr: harness.UntilDone(ctx, stderr),
	})
	if rows, err = o.collect(stdout, &out); stopped != nil || err != nil || !o.mpi {
		return rows, errors.Join(stopped, err)
	}
	peers, err := o.measureMPI(ctx, c)
	if err != nil {
		return rows, err
	}
	return beside(rows, peers), nil
}
