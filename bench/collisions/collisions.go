// Package collisions is a command of bench: it compares the hashes of compression with theory.
package collisions

import (
	"context"
	"flag"
	"fmt"
	"image/color"
	"io"
	"math"
	"math/rand/v2"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/workload"
	"github.com/switchyard-moe/switchyard/internal/figure"
	"github.com/switchyard-moe/switchyard/internal/outfile"
	"github.com/switchyard-moe/switchyard/lsh"
)

const usage = `usage: go run ./bench collisions [flags]

Hashes pairs of rows at angles from 0 to π with many seeds, and prints how often both get the same code beside what theory says of random
rotations (Goemans and Williamson 1995; Andoni et al. 2015), which the fast ones stand in for.

Flags:
`

// families are the hashes that are compared with theory.
var families = []struct {
	family lsh.Family
	width  int
	colour color.Color
}{
	{lsh.CrossPolytope, 2, color.NRGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff}}, {lsh.CrossPolytope, 8, color.NRGBA{G: 0x72, B: 0xb2, A: 0xff}},
	{lsh.CrossPolytope, 32, color.Black}, {lsh.Hyperplane, 4, color.NRGBA{R: 0xd5, G: 0x5e, A: 0xff}},
}

// Run is the command.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("collisions", flag.ContinueOnError)
	dim := f.Int("dim", 256, "columns of a row")
	seeds := f.Int("seeds", 40, "seeds, each with 40 pairs of rows at every angle")
	var svg string
	outfile.Var(f, &svg, "svg", "", "draw to this `file`")
	err := harness.ParseFlags(f, usage, args, stdout)
	if err == nil && (*dim < 2 || *seeds < 1) {
		err = fmt.Errorf("-dim %d -seeds %d: want at least 2 and 1", *dim, *seeds)
	}
	if err != nil {
		return harness.NotRun(stderr, "collisions", err)
	}
	harness.NewPace(stderr, "collisions", 1, harness.Times(*seeds**dim, 200*time.Microsecond))
	p := figure.New()
	p.X.Label.Text, p.Y.Label.Text = "angle between two rows, degrees", "share of equal codes"
	p.Legend.Top = true
	fmt.Fprintln(stdout, "family          width  angle  theory  measured")
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range families {
		var theory, measured plotter.XYs
		for degrees := 0; degrees <= 180; degrees += 15 {
			if ctx.Err() != nil {
				return harness.Failed
			}
			angle := float64(degrees) * math.Pi / 180
			want, got := c.family.Collision(c.width, angle), collisionRate(random, c.family, c.width, *dim, angle, *seeds)
			fmt.Fprintf(stdout, "%-14v  %5d  %5d  %6.4f  %8.4f\n", c.family, c.width, degrees, want, got)
			theory, measured = append(theory, plotter.XY{X: float64(degrees), Y: want}), append(measured, plotter.XY{X: float64(degrees), Y: got})
		}
		if err := add(p, fmt.Sprintf("%v, width %d", c.family, c.width), c.colour, theory, measured); err != nil {
			return harness.Conclude(ctx, err, stderr)
		}
	}
	if svg == "" {
		return 0
	}
	return harness.Conclude(ctx, figure.Save(svg, vg.Points(480), vg.Points(320), p), stderr)
}

// add draws theory as a line and what was measured as dots.
func add(p *plot.Plot, name string, c color.Color, theory, measured plotter.XYs) error {
	line, err := plotter.NewLine(theory)
	if err != nil {
		return err
	}
	dots, err := plotter.NewScatter(measured)
	if err != nil {
		return err
	}
	line.Color, dots.Color, dots.Shape, dots.Radius = c, c, draw.CircleGlyph{}, vg.Points(2.5)
	p.Add(line, dots)
	p.Legend.Add(name, line, dots)
	return nil
}

// collisionRate is how often two rows at an angle get the same code.
func collisionRate(random *rand.Rand, family lsh.Family, width, dim int, angle float64, seeds int) float64 {
	const pairs, hashes = 40, 4
	x, codes := workload.NewMatrix(2*pairs, dim), make([]uint32, 2*pairs*hashes)
	equal := 0
	for range seeds {
		h, err := lsh.NewHasher(lsh.Config{Family: family, Width: width, Hashes: hashes, Centre: lsh.Origin, Seed: random.Uint64()}, dim)
		if err != nil {
			panic(err) // of constants
		}
		for i := range pairs {
			pairAt(random, x.Data[2*i*dim:(2*i+1)*dim], x.Data[(2*i+1)*dim:(2*i+2)*dim], angle)
		}
		h.Codes(codes, x)
		for i := range pairs {
			for j := range hashes {
				if codes[2*i*hashes+j] == codes[(2*i+1)*hashes+j] {
					equal++
				}
			}
		}
	}
	return float64(equal) / float64(seeds*pairs*hashes)
}

// pairAt draws two directions at an angle.
func pairAt(random *rand.Rand, a, b []float32, angle float64) {
	u, v := make([]float64, len(a)), make([]float64, len(a))
	uu, uv, vv := 0., 0., 0.
	for i := range u {
		u[i], v[i] = random.NormFloat64(), random.NormFloat64()
		uu, uv = uu+u[i]*u[i], uv+u[i]*v[i]
	}
	for i := range v {
		v[i] -= uv / uu * u[i]
		vv += v[i] * v[i]
	}
	sin, cos := math.Sincos(angle)
	for i := range u {
		a[i] = float32(u[i] / math.Sqrt(uu))
		b[i] = float32(cos*u[i]/math.Sqrt(uu) + sin*v[i]/math.Sqrt(vv))
	}
}
