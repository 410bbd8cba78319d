// Compress trains the example's model behind slow links with every row sent and with a fifth of
// them, and draws the held-out loss against the time of training and against the bytes sent.
//
//	go run ./examples/compress
//
// Losses are of uncompressed passes, as a compressed one is not causal.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image/color"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/switchyard-moe/switchyard/internal/figure"
	"github.com/switchyard-moe/switchyard/internal/interrupt"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const trainer = "github.com/switchyard-moe/switchyard/examples/train"

const usage = `Trains the example's model behind slow links with every row sent and with the share -rate of them,
and draws the held-out loss against the time of training and against the bytes sent.

usage: go run ./examples/compress [flags]

Flags:
`

// options is the command line.
type options struct {
	link, steps int
	rate        float64
	more        string
	svg         string
}

func main() {
	var o options
	flag.IntVar(&o.link, "link", 200, "Mbit/s of each rank's link, simulated in this process")
	flag.IntVar(&o.steps, "steps", 100, "steps of each training run")
	flag.Float64Var(&o.rate, "rate", 0.2, "share of the rows that travel")
	flag.StringVar(&o.more, "train", "-batch 64 -groups 16", "more `flags` of examples/train, with spaces between them, for every run")
	outfile.Var(flag.CommandLine, &o.svg, "svg", "compress.svg", "`file` to draw to, in the format that its ending names")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := interrupt.Context(context.Background(), 0)
	code := conclude(ctx, o.checked(ctx), os.Stderr)
	stop()
	os.Exit(code)
}

// checked is run, once it is known that nothing else was asked for and that the picture can be
// written.
func (o *options) checked(ctx context.Context) error {
	if err := errors.Join(extra(flag.Args()), outfile.Check(flag.CommandLine), figure.Format(o.svg)); err != nil {
		return err
	}
	return o.run(ctx)
}

// extra is the error of arguments that are no flags, after which flags would not be read either.
func extra(args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("unexpected argument %q", args[0])
}

// conclude prints in one line what went wrong, if anything did, and returns the exit code.
func conclude(ctx context.Context, err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	if why, over := interrupt.Of(ctx); over {
		fmt.Fprintln(stderr, "compress:", why)
		return why.Code()
	}
	fmt.Fprintln(stderr, "compress:", err)
	return 1
}

// course is a training run as examples/train tells it.
type course struct {
	name   string
	Looks  []look  `json:"course"`
	StepMS float64 `json:"step_ms"`
}

type look struct {
	Step      int     `json:"step"`
	Seconds   float64 `json:"seconds"`
	WireBytes uint64  `json:"wire_bytes"`
	Loss      float64 `json:"loss"`
}

func (o *options) run(ctx context.Context) (err error) {
	if o.link < 1 || o.steps < 1 || !(o.rate > 0 && o.rate <= 1) {
		return fmt.Errorf("-link %d -steps %d -rate %v: want at least 1, 1, and above 0 up to 1", o.link, o.steps, o.rate)
	}
	dir, err := os.MkdirTemp("", "switchyard-compress-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "train")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, trainer).CombinedOutput(); err != nil {
		return fmt.Errorf("build examples/train: %w\n%s", err, out)
	}
	percent := strconv.FormatFloat(100*o.rate, 'g', 3, 64) + " %"
	rate := fmt.Sprint(o.rate)
	var courses []course
	for _, run := range []struct {
		name  string
		flags []string
	}{
		{"all rows", nil},
		{percent + " of the rows", []string{"-compress", rate}},
		{percent + " of the rows and gradients", []string{"-compress", rate, "-compress-gradients", "clusters"}},
	} {
		fmt.Printf("%s: training %d steps behind links of %d Mbit/s\n", run.name, o.steps, o.link)
		c, err := o.train(ctx, program, filepath.Join(dir, "run.json"), run.flags)
		if err != nil {
			return fmt.Errorf("%s: %w", run.name, err)
		}
		c.name = run.name
		last := c.Looks[len(c.Looks)-1]
		fmt.Printf("  %.0f ms a step, %.1f s, %.1f MB sent, held-out loss %.3f\n", c.StepMS, last.Seconds, float64(last.WireBytes)/1e6, last.Loss)
		courses = append(courses, c)
	}
	if err := drawCourses(o.svg, courses); err != nil {
		return err
	}
	fmt.Println("loss against time and bytes:", o.svg)
	return nil
}

// train runs the program once.
func (o *options) train(ctx context.Context, program, file string, flags []string) (c course, err error) {
	args := append([]string{
		"-transport", "inproc", "-link", strconv.Itoa(o.link), "-steps", strconv.Itoa(o.steps), "-eval-every", strconv.Itoa(max(o.steps/10, 1)),
		"-json", file, "-svg", "", "-sample", "0", "-progress", "none",
	}, flags...)
	if out, err := exec.CommandContext(ctx, program, append(args, strings.Fields(o.more)...)...).CombinedOutput(); err != nil {
		return c, fmt.Errorf("%w\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, err
	}
	if len(c.Looks) == 0 {
		return c, errors.New("the run tells no losses")
	}
	return c, nil
}

// colours are three that colour-blind readers can tell apart.
var colours = []color.Color{color.NRGBA{R: 0x60, G: 0x60, B: 0x60, A: 0xff}, color.NRGBA{R: 0xd5, G: 0x5e, A: 0xff}, color.NRGBA{G: 0x72, B: 0xb2, A: 0xff}}

// drawCourses draws two charts side by side.
func drawCourses(path string, courses []course) error {
	byTime, err := chart("seconds of training", courses, func(l look) float64 { return l.Seconds })
	if err != nil {
		return err
	}
	byBytes, err := chart("MB sent by all ranks", courses, func(l look) float64 { return float64(l.WireBytes) / 1e6 })
	if err != nil {
		return err
	}
	const width, height = 760, 300
	return figure.Draw(path, vg.Points(width), vg.Points(height), func(all draw.Canvas) {
		byTime.Draw(draw.Crop(all, 0, -vg.Points(width/2+6), 0, 0))
		byBytes.Draw(draw.Crop(all, vg.Points(width/2+6), 0, 0, 0))
	})
}

// chart draws held-out loss against what x says of a look.
func chart(title string, courses []course, x func(look) float64) (*plot.Plot, error) {
	p := figure.New()
	p.X.Label.Text, p.Y.Label.Text = title, "held-out loss, nats a byte"
	p.Legend.Top = true
	for i, c := range courses {
		var points plotter.XYs
		for _, l := range c.Looks {
			points = append(points, plotter.XY{X: x(l), Y: l.Loss})
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = colours[i], vg.Points(1.5)
		p.Add(line)
		p.Legend.Add(c.name, line)
	}
	p.X.Min = 0
	return p, nil
}
