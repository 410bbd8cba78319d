// Package algorithms is a command of bench: it predicts the exchange algorithms on large clusters.
package algorithms

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/palette"
	"github.com/switchyard-moe/switchyard/internal/figure"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `usage: go run ./bench algorithms [flags]

Makes the plan of every exchange algorithm for clusters of 16 ranks and more, runs nothing, and prints for the first rank, which has
most to do: steps, messages and bytes within its node and to others, and the time that the given costs of links predict.

-svg FILE draws the predicted times against the number of ranks. Pairwise and dedup are not drawn: where all blocks are alike their time is
direct's.

`

// clusters are the numbers of ranks that plans are made for.
var clusters = []int{16, 64, 256, 1024, 4096, 16384}

// Run prints the cost of every algorithm at scale.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("algorithms", flag.ContinueOnError)
	each := f.Int("each", 8, "ranks of a node")
	bytes := f.Int("bytes", 4096, "bytes from each rank to each other")
	var svg string
	outfile.Var(f, &svg, "svg", "", "draw to this `file`")
	most := f.Int("ranks", clusters[len(clusters)-1], "most ranks")
	var l links.Links
	f.DurationVar(&l.Within.Alpha, "within-alpha", time.Microsecond, "cost of a message within a node")
	f.Float64Var(&l.Within.Beta, "within-beta", 0.1, "nanoseconds a byte within a node")
	f.DurationVar(&l.Between.Alpha, "between-alpha", 20*time.Microsecond, "cost of a message between nodes")
	f.Float64Var(&l.Between.Beta, "between-beta", 0.08, "nanoseconds a byte on a node's link, which its ranks share: 8 for 1 Gb/s")
	err := harness.ParseFlags(f, usage, args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
	case *each < 1 || *bytes < 1 || *most < clusters[0]:
		err = fmt.Errorf("-each %d -bytes %d -ranks %d: want at least 1, 1 and %d", *each, *bytes, *most, clusters[0])
	default:
		err = l.Validate()
	}
	if err != nil {
		return harness.NotRun(stderr, "algorithms", err)
	}
	harness.NewPace(stderr, "algorithms", 1, harness.Times(*most, 50*time.Microsecond))
	costs := map[alltoall.Algorithm]plotter.XYs{}
	if code := printCosts(ctx, stdout, l, *each, *bytes, *most, costs); code != 0 || svg == "" {
		return code
	}
	return harness.Conclude(ctx, drawCosts(svg, costs), stderr)
}

func printCosts(ctx context.Context, stdout io.Writer, l links.Links, each, bytes, most int, costs map[alltoall.Algorithm]plotter.XYs) int {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	fmt.Fprintln(w, "ranks\talgorithm\tsteps\twithin\tbetween\tMB within\tMB between\tpredicted\tplan made in\t")
	for _, ranks := range clusters {
		if ranks > most {
			break
		}
		for _, a := range alltoall.Algorithms() {
			if ctx.Err() != nil {
				return harness.Failed
			}
			begin := time.Now()
			c := l.Cost(a, alltoall.Nodes(ranks, each), ranks, 0, bytes)
			took := time.Since(begin)
			costs[a] = append(costs[a], plotter.XY{X: float64(ranks), Y: c.Time.Seconds() * 1e3})
			fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%.2f\t%.2f\t%v\t%v\t\n", ranks, a, c.Steps, c.Within, c.Between,
				float64(c.BytesWithin)/1e6, float64(c.BytesBetween)/1e6, c.Time.Round(time.Microsecond), took.Round(10*time.Microsecond))
		}
	}
	return 0
}

// drawCosts draws predicted time against the number of ranks, both by powers of ten.
func drawCosts(file string, costs map[alltoall.Algorithm]plotter.XYs) error {
	p := figure.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = "one exchange, as predicted", "ranks", "ms"
	p.X.Scale, p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogScale{}, plot.LogTicks{Prec: -1}
	var ticks []plot.Tick
	for _, at := range costs[alltoall.Direct] {
		ticks = append(ticks, plot.Tick{Value: at.X, Label: strconv.Itoa(int(at.X))})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	p.Add(plotter.NewGrid())
	for i, a := range []alltoall.Algorithm{alltoall.Direct, alltoall.Bruck, alltoall.Leader, alltoall.ThreeLevel, alltoall.Rails} {
		line, err := plotter.NewLine(costs[a])
		if err != nil {
			return err
		}
		line.Color, line.Width = palette.OfCurve(i), vg.Points(1.6)
		if a == alltoall.Rails { // which lies on three-level
			line.Dashes = []vg.Length{vg.Points(6), vg.Points(5)}
		}
		p.Add(line)
		p.Legend.Add(a.String(), line)
	}
	p.Legend.Left, p.Legend.Top = true, true
	return figure.Save(file, vg.Points(480), vg.Points(320), p)
}
