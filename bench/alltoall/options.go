package alltoall

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/transports"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const alltoallUsage = `Times an all-to-all over our transports, beside that of other libraries, on this machine.

usage: go run ./bench alltoall [flags]

Every rank sends as many bytes to each other rank, over and over. Ranks are processes (goroutines
for inproc). Contestants take turns: in every round each of them runs all sizes once, in fresh
processes, under one protocol: untimed iterations, then timed ones back to back. An iteration takes
as long as its slowest rank. Reported are the median over rounds of each round's 50th and 99th
percentile (nearest rank). Ratios are of these medians.

Every byte depends on sender, receiver, iteration and position. All are checked in the first and
in the last iteration, some of each block in every one, never while the clock runs; #wrong counts
those that were not as expected. The exit code is 1 if there are any, or if a contestant fails.

size is that of nccl-tests: the bytes a rank sends, those to itself included. GB is 10⁹ bytes;
algbw = size / p50; busbw = algbw × (ranks-1) / ranks.

Of our transports shm-plain leaves messages in Go's memory, where peers do not read them in place; tcp-nosums takes
no checksums of messages, as the peers take none; grpc-unary is no transport of the library, but a unary call with a
proto message for each message, for comparison with grpc; mpi is there in builds with -tags mpi.

Peers are compiled from sources within this program. What cannot be built is named and left out.
  mpi-tcp     Open MPI, over TCP on the loopback interface
  mpi         Open MPI, over shared memory
  mpi-posted  the same, by MPI_Isend and MPI_Irecv to all at once: what our transport over MPI asks of it
  gloo        Gloo, over TCP on the loopback interface
To have them: apt-get install openmpi-bin libopenmpi-dev libgloo-dev g++

-json FILE writes an object a line: who (switchyard, openmpi, gloo), version, transport, ranks,
bytes_per_peer, algorithm, p50_us, p99_us, algbw_gbps, busbw_gbps (both GB/s: 10⁹ bytes), wrong.

Example:
  go run ./bench alltoall -transport tcp -ranks 4 -sizes 64,64Ki,1Mi -peers mpi-tcp,gloo

Flags:
`

// Formats of the outcome on standard output.
const (
	formatTable = "table"
	formatGo    = "go"
)

// options are the flags of alltoall.
type options struct {
	transports, peers  []string
	sizes              []int
	ranks, rounds      int
	iterations         int
	short              bool
	jsonFile, format   string
	timeout            time.Duration
	transportList      string
	sizeList, peerList string
}

// newFlags declares the flags of alltoall, to be parsed into o.
func newFlags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("alltoall", flag.ContinueOnError)
	f.StringVar(&o.transportList, "transport", "tcp", "our transports to measure, of "+strings.Join(transports.Names(), ","))
	f.IntVar(&o.ranks, "ranks", 4, "number of ranks, 2 to 64")
	f.StringVar(&o.sizeList, "sizes", "64,4Ki,64Ki,1Mi,16Mi", "bytes to each peer; with -short 64,4Ki,64Ki,1Mi")
	f.StringVar(&o.peerList, "peers", strings.Join(peerNames(), ","), "libraries to compare with, or none")
	f.IntVar(&o.rounds, "rounds", 3, "how many turns each contestant takes, 1 to 1000; with -short 1")
	f.IntVar(&o.iterations, "iters", 0, "timed iterations a round, up to 1000000; 0: 20 to 2000 by size, with -short 5 to 50")
	f.BoolVar(&o.short, "short", false, "finish within seconds; the figures mean little then")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file, one JSON object a line")
	f.StringVar(&o.format, "format", formatTable, "table, or go for lines that benchstat reads")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "give up when one turn takes longer")
	return f
}

// parseOptions reads the command line, and prints help to stdout where that is asked for.
func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	f := newFlags(&o)
	if err := harness.ParseFlags(f, alltoallUsage, args, stdout); err != nil {
		return o, err
	}
	if o.short {
		o.shorten(f)
	}
	return o, o.resolve()
}

// shorten replaces the defaults that take long, but nothing that the user has set.
func (o *options) shorten(f *flag.FlagSet) {
	set := map[string]bool{}
	f.Visit(func(f *flag.Flag) { set[f.Name] = true })
	if !set["sizes"] {
		o.sizeList = "64,4Ki,64Ki,1Mi"
	}
	if !set["rounds"] {
		o.rounds = 1
	}
}

// resolve turns lists into what they name, and reports every fault.
func (o *options) resolve() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(o.ranks >= 2 && o.ranks <= 64, "-ranks %d: want 2 to 64", o.ranks)
	check(o.rounds >= 1 && o.rounds <= 1000, "-rounds %d: want 1 to 1000", o.rounds)
	check(o.iterations >= 0 && o.iterations <= 1e6, "-iters %d: want 1 to 1000000, or 0 to choose by size", o.iterations)
	check(o.timeout > 0, "-timeout %v: want more than 0", o.timeout)
	check(o.format == formatTable || o.format == formatGo, "-format %q: want table or go", o.format)
	o.transports = harness.Names("-transport", o.transportList, transports.Names(), &faults)
	if o.peerList != "" && o.peerList != "none" {
		o.peers = harness.Names("-peers", o.peerList, peerNames(), &faults)
	}
	var err error
	if o.sizes, err = harness.ParseSizes(o.sizeList); err != nil {
		faults = append(faults, fmt.Errorf("-sizes: %w", err))
	}
	for _, s := range o.sizes {
		check(s*o.ranks <= harness.MaxRankBytes, "-sizes %s: %d ranks would hold %d bytes each, want at most %d", harness.SizeName(s), o.ranks, s*o.ranks, harness.MaxRankBytes)
	}
	return errors.Join(faults...)
}
