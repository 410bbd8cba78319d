// Package moments is a command of bench: it trains with the moments of the optimizer in fewer bits.
package moments

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Trains the model of examples/train with AdamW whose moments are float32, fp8 (E4M3 with dynamic range expansion, as COAT has it) and four
bits, with the same batches, and compares the loss of held-out text.

usage: go run ./bench moments [flags]

-json FILE writes an object a line: moments, bytes (of the optimizer's state, a parameter, as counted in it), seeds, steps, val_loss (in the mean
over seeds), difference_percent (of val_loss from that of float32), worst_percent (the largest of one seed), step_ms.

Flags:
`

// options are the flags of moments.
type options struct {
	steps, seeds, batch int
	short               bool
	jsonFile            string
}

func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("moments", flag.ContinueOnError)
	f.IntVar(&o.steps, "steps", 300, "optimizer steps of a run")
	f.IntVar(&o.seeds, "seeds", 3, "seeds of each kind of moments")
	f.IntVar(&o.batch, "batch", 64, "sequences of 64 bytes in a step")
	f.BoolVar(&o.short, "short", false, "two steps of a small model: finish within seconds; the figures mean nothing then")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this `file`, one JSON object a line")
	if err := harness.ParseFlags(f, usage, args, stdout); err != nil {
		return o, err
	}
	if o.short {
		o.steps, o.seeds, o.batch = 2, 1, 8
	}
	var faults []error
	for name, n := range map[string]int{"steps": o.steps, "seeds": o.seeds, "batch": o.batch} {
		if n < 1 {
			faults = append(faults, fmt.Errorf("-%s %d: want at least 1", name, n))
		}
	}
	if o.batch%8 != 0 {
		faults = append(faults, fmt.Errorf("-batch %d: want a multiple of 8", o.batch))
	}
	return o, errors.Join(faults...)
}

// Run is the command "moments".
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "moments", err)
	}
	runs, err := o.train(ctx, stderr)
	if rows := summary(runs); len(rows) > 0 {
		write(stdout, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows))
	}
	return harness.Conclude(ctx, err, stderr)
}

// run is what examples/train writes of a run with one kind of moments.
type run struct {
	Moments     string  `json:"-"`
	Seed        uint64  `json:"seed"`
	Steps       int     `json:"steps"`
	ValLoss     float64 `json:"val_loss"`
	StepMS      float64 `json:"step_ms"`
	Parameters  int     `json:"parameters"`
	MomentBytes int     `json:"moment_bytes"`
}

// train trains each kind with each seed, and returns the runs that have ended.
func (o options) train(ctx context.Context, progress io.Writer) (runs []run, err error) {
	t, err := harness.NewTrainer(ctx, "moments")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Remove()) }()
	kinds := []expert.Moments{expert.Float32Moments, expert.FP8Moments, expert.Int4Moments}
	turns := len(kinds) * o.seeds
	p := harness.NewPace(progress, "moments", turns, harness.Times(turns*o.steps*o.batch/64, 450*time.Millisecond))
	for seed := range o.seeds {
		for _, kind := range kinds {
			p.Next("%v, seed %d", kind, seed+1)
			r, err := o.trainOnce(ctx, t.Program, filepath.Join(t.Folder, "run.json"), kind.String(), seed+1)
			if err != nil {
				return runs, fmt.Errorf("%v, seed %d: %w", kind, seed+1, err)
			}
			fmt.Fprintf(progress, "bench: %v, seed %d: held-out loss %.4f\n", kind, seed+1, r.ValLoss)
			runs = append(runs, r)
		}
	}
	return runs, nil
}

func (o options) trainOnce(ctx context.Context, program, file, kind string, seed int) (run, error) {
	flags := slices.Concat(harness.SmallModel(o.short), harness.QuietFlags(), []string{
		"-transport", "inproc", "-ranks", "1", "-capacity", "0", "-lr", "0.002",
		"-batch", fmt.Sprint(o.batch), "-steps", fmt.Sprint(o.steps), "-seed", fmt.Sprint(seed), "-moments", kind, "-json", file,
	})
	if _, err := harness.Output(ctx, program, flags...); err != nil {
		return run{}, err
	}
	r := run{Moments: kind}
	return r, harness.ReadJSON(file, &r)
}

// row is one kind of moments, and a line of the JSON file.
type row struct {
	Moments    string  `json:"moments"`
	Bytes      float64 `json:"bytes"`
	Seeds      int     `json:"seeds"`
	Steps      int     `json:"steps"`
	Loss       float64 `json:"val_loss"`
	Difference float64 `json:"difference_percent"`
	Worst      float64 `json:"worst_percent"`
	StepMS     float64 `json:"step_ms"`
}

// summary compares each kind with float32, which stands first, on the seeds that it has run.
func summary(runs []run) (rows []row) {
	plain := map[uint64]float64{}
	at := map[string]int{}
	for _, r := range runs {
		if _, ok := at[r.Moments]; !ok {
			at[r.Moments] = len(rows)
			rows = append(rows, row{Moments: r.Moments, Steps: r.Steps, Bytes: float64(r.MomentBytes) / float64(max(r.Parameters, 1))})
		}
		if r.Moments == expert.Float32Moments.String() {
			plain[r.Seed] = r.ValLoss
		}
		of, percent := &rows[at[r.Moments]], 100*(r.ValLoss/plain[r.Seed]-1)
		of.Seeds++
		of.Loss += (r.ValLoss - of.Loss) / float64(of.Seeds)
		of.Difference += (percent - of.Difference) / float64(of.Seeds)
		of.StepMS += (r.StepMS - of.StepMS) / float64(of.Seeds)
		if of.Seeds == 1 || percent > of.Worst {
			of.Worst = percent
		}
	}
	return rows
}

func write(stdout io.Writer, rows []row) {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "moments\tbytes a parameter\tseeds\tsteps\theld-out\tdifference\tworst seed\tstep(ms)\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%.2f\t%d\t%d\t%.4f\t%+.2f%%\t%+.2f%%\t%.0f\t\n", r.Moments, r.Bytes, r.Seeds, r.Steps, r.Loss, r.Difference, r.Worst, r.StepMS)
	}
	_ = w.Flush()
}
