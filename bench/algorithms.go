package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
)

const algorithmsUsage = `usage: go run ./bench algorithms [flags]

Makes the plan of every exchange algorithm for clusters of 16 ranks and more, runs nothing, and prints for the first rank, which has
most to do: steps, messages and bytes within its node and to others, and the time that the given costs of links predict.

`

// clusters are the numbers of ranks that plans are made for.
var clusters = []int{16, 64, 256, 1024, 4096, 16384}

// runAlgorithms prints the cost of every algorithm at scale.
func runAlgorithms(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("algorithms", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	each := f.Int("each", 8, "ranks of a node")
	bytes := f.Int("bytes", 4096, "bytes from each rank to each other")
	most := f.Int("ranks", clusters[len(clusters)-1], "most ranks")
	var l alltoall.Links
	f.DurationVar(&l.Within.Alpha, "within-alpha", time.Microsecond, "cost of a message within a node")
	f.Float64Var(&l.Within.Beta, "within-beta", 0.1, "nanoseconds a byte within a node")
	f.DurationVar(&l.Between.Alpha, "between-alpha", 20*time.Microsecond, "cost of a message between nodes")
	f.Float64Var(&l.Between.Beta, "between-beta", 0.08, "nanoseconds a byte on a node's link, which its ranks share: 8 for 1 Gb/s")
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, algorithmsUsage)
		f.SetOutput(stdout)
		f.PrintDefaults()
		return 0
	}
	switch {
	case err != nil:
	case f.NArg() > 0:
		err = fmt.Errorf("%q: algorithms takes flags only", f.Arg(0))
	case *each < 1 || *bytes < 1 || *most < clusters[0]:
		err = fmt.Errorf("-each %d -bytes %d -ranks %d: want at least 1, 1 and %d", *each, *bytes, *most, clusters[0])
	default:
		err = l.Validate()
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return misused
	}
	return printCosts(ctx, stdout, l, *each, *bytes, *most)
}

func printCosts(ctx context.Context, stdout io.Writer, l alltoall.Links, each, bytes, most int) int {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	fmt.Fprintln(w, "ranks\talgorithm\tsteps\twithin\tbetween\tMB within\tMB between\tpredicted\tplan made in\t")
	for _, ranks := range clusters {
		if ranks > most {
			break
		}
		for _, a := range alltoall.Algorithms() {
			if ctx.Err() != nil {
				return failed
			}
			begin := time.Now()
			c := l.Cost(a, alltoall.Nodes(ranks, each), ranks, 0, bytes)
			took := time.Since(begin)
			fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%.2f\t%.2f\t%v\t%v\t\n", ranks, a, c.Steps, c.Within, c.Between,
				float64(c.BytesWithin)/1e6, float64(c.BytesBetween)/1e6, c.Time.Round(time.Microsecond), took.Round(10*time.Microsecond))
		}
	}
	return 0
}
