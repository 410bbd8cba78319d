// Package sums is a command of bench: it trains with gradients that are summed over ranks in few
// bits.
package sums

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Trains the model of examples/train on four ranks whose gradients are summed as float32 and in formats of few bits with error feedback, with
the same batches, and compares bytes, the loss of held-out text, and the time of a step behind links of -link Mbit/s.

usage: go run ./bench sums [flags]

-json FILE writes an object a line: sums (the format), sum_bytes (that rank 0 sends in a step to sum gradients), bytes_ratio (to those of float32),
seeds, steps, val_loss (in the mean over seeds), difference_percent (of val_loss from that of float32, seed by seed), worst_percent (the largest of
one seed), link_mbps, step_ms, speedup (of a step behind the links).

-runs DIR keeps what each run has come to, and takes what is there already, of a run with the same flags: a command that was stopped goes on.

Flags:
`

// exactName is the format that the others are compared with.
var exactName = alltoall.Float32.String()

// usualBatch is the batch that names of files leave out.
const usualBatch = 64

// options are the flags of sums.
type options struct {
	steps, seeds, batch  int
	link, speedSteps     int
	formats              []string
	short                bool
	jsonFile, runsFolder string
}

func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("sums", flag.ContinueOnError)
	formats := f.String("formats", "fp8,nvfp4-h", "formats beside float32, `names` with commas between them")
	f.IntVar(&o.steps, "steps", 200, "optimizer steps of a run")
	f.IntVar(&o.seeds, "seeds", 3, "seeds of each format")
	f.IntVar(&o.batch, "batch", usualBatch, "sequences of 64 bytes in a step")
	f.IntVar(&o.link, "link", 100, "Mbit/s of each rank's link where time is measured; 0 measures none")
	f.IntVar(&o.speedSteps, "speed-steps", 8, "optimizer steps of a run behind links")
	f.BoolVar(&o.short, "short", false, "two steps of a small model: finish within seconds; the figures mean nothing then")
	f.StringVar(&o.runsFolder, "runs", "", "keep what each run has come to in this `directory`, and run none again that is there")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this `file`, one JSON object a line")
	if err := harness.ParseFlags(f, usage, args, stdout); err != nil {
		return o, err
	}
	if o.short {
		o.steps, o.seeds, o.batch, o.speedSteps = 2, 1, 8, 2
	}
	return o, o.check(*formats)
}

// check returns every fault, and takes the formats.
func (o *options) check(formats string) error {
	var faults []error
	for name, n := range map[string]int{"steps": o.steps, "seeds": o.seeds, "batch": o.batch, "speed-steps": o.speedSteps} {
		if n < 1 {
			faults = append(faults, fmt.Errorf("-%s %d: want at least 1", name, n))
		}
	}
	if o.link < 0 {
		faults = append(faults, fmt.Errorf("-link %d: want at least 0", o.link))
	}
	if o.batch%8 != 0 {
		faults = append(faults, fmt.Errorf("-batch %d: want a multiple of 8", o.batch))
	}
	names := harness.Names("-formats", formats, alltoall.FormatNames(), &faults)
	o.formats = append([]string{exactName}, slices.DeleteFunc(names, func(n string) bool { return n == exactName })...)
	return errors.Join(faults...)
}

// Run is the command "sums".
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "sums", err)
	}
	runs, err := o.train(ctx, stderr)
	if rows := summary(runs); len(rows) > 0 {
		write(stdout, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows))
	}
	return harness.Conclude(ctx, err, stderr)
}

// run is what examples/train writes of a run with one format.
type run struct {
	Format   string  `json:"-"`
	Link     int     `json:"-"` // Mbit/s, 0 for a run that is evaluated
	Seed     uint64  `json:"seed"`
	Steps    int     `json:"steps"`
	ValLoss  float64 `json:"val_loss"`
	StepMS   float64 `json:"step_ms"`
	SumBytes uint64  `json:"sum_bytes"`
}

// file is where the result of a run goes, in a folder.
func (o options) file(r run) string {
	name := fmt.Sprintf("%s-%d", r.Format, r.Seed)
	if r.Link > 0 {
		name = fmt.Sprintf("%s-link-%d", r.Format, r.Link)
	}
	if o.batch != usualBatch {
		name += fmt.Sprintf("-batch-%d", o.batch)
	}
	if o.short {
		name += "-short"
	}
	return name + ".json"
}

// planned are all runs: seed after seed, so that a command that is stopped has whole ones.
func (o options) planned() (list []run) {
	if o.link > 0 {
		for _, format := range o.formats {
			list = append(list, run{Format: format, Link: o.link, Seed: 1, Steps: o.speedSteps})
		}
	}
	for seed := range o.seeds {
		for _, format := range o.formats {
			list = append(list, run{Format: format, Seed: uint64(seed + 1), Steps: o.steps})
		}
	}
	return list
}

// train trains with each format and each seed, and returns the runs that have ended.
func (o options) train(ctx context.Context, progress io.Writer) (runs []run, err error) {
	t, err := harness.NewTrainer(ctx, "sums")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Remove()) }()
	results := cmp.Or(o.runsFolder, t.Folder)
	if err := os.MkdirAll(results, 0o755); err != nil {
		return nil, err
	}
	steps, planned := 0, o.planned()
	for _, r := range planned {
		steps += r.Steps
	}
	p := harness.NewPace(progress, "sums", len(planned), harness.Times(steps*o.batch/64, 450*time.Millisecond))
	for _, r := range planned {
		p.Next("%s", r.name())
		if err := o.trainOnce(ctx, t.Program, filepath.Join(results, o.file(r)), &r); err != nil {
			return runs, fmt.Errorf("%s: %w", r.name(), err)
		}
		fmt.Fprintf(progress, "bench: %s: held-out loss %.4f, %d bytes of sums and %.0f ms a step\n", r.name(), r.ValLoss, r.SumBytes, r.StepMS)
		runs = append(runs, r)
	}
	return runs, nil
}

// name is what the run is called in messages.
func (r run) name() string {
	if r.Link > 0 {
		return fmt.Sprintf("%s behind %d Mbit/s", r.Format, r.Link)
	}
	return fmt.Sprintf("%s, seed %d", r.Format, r.Seed)
}

// trainOnce trains, unless the result is there, and reads it.
func (o options) trainOnce(ctx context.Context, program, file string, r *run) error {
	if _, err := os.Stat(file); err != nil {
		if _, err := harness.Output(ctx, program, o.flags(r, file)...); err != nil {
			return err
		}
	}
	wanted := *r
	if err := harness.ReadJSON(file, r); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if r.Steps != wanted.Steps || r.Seed != wanted.Seed {
		return fmt.Errorf("%s: it is of %d steps of seed %d, want %d of %d", file, r.Steps, r.Seed, wanted.Steps, wanted.Seed)
	}
	return nil
}

// flags are those of examples/train for a run.
func (o options) flags(r *run, file string) []string {
	evaluated := "0" // all held-out text
	if r.Link > 0 {
		evaluated = "1"
	}
	return slices.Concat(harness.SmallModel(o.short), harness.QuietFlags(), []string{
		"-transport", "inproc", "-ranks", "4", "-groups", "8", "-capacity", "0", "-lr", "0.002",
		"-batch", fmt.Sprint(o.batch), "-steps", fmt.Sprint(r.Steps), "-seed", fmt.Sprint(r.Seed), "-sums", r.Format,
		"-link", fmt.Sprint(r.Link), "-eval-batches", evaluated, "-json", file,
	})
}

// row is one format, and a line of the JSON file.
type row struct {
	Sums       string  `json:"sums"`
	Bytes      uint64  `json:"sum_bytes"`
	Ratio      float64 `json:"bytes_ratio"`
	Seeds      int     `json:"seeds"`
	Steps      int     `json:"steps"`
	Loss       float64 `json:"val_loss"`
	Difference float64 `json:"difference_percent"`
	Worst      float64 `json:"worst_percent"`
	Link       int     `json:"link_mbps"`
	StepMS     float64 `json:"step_ms"`
	Speedup    float64 `json:"speedup"`
}

// summary compares each format with float32, on the seeds of both.
func summary(runs []run) (rows []row) {
	exact := map[run]run{} // by seed and link
	of := func(r run) run { return run{Link: r.Link, Seed: r.Seed} }
	for _, r := range runs {
		if r.Format == exactName {
			exact[of(r)] = r
		}
	}
	for _, r := range runs {
		i := slices.IndexFunc(rows, func(of row) bool { return of.Sums == r.Format })
		if i < 0 {
			i, rows = len(rows), append(rows, row{Sums: r.Format})
		}
		if plain, ok := exact[of(r)]; ok {
			rows[i].add(r, plain)
		}
	}
	return slices.DeleteFunc(rows, func(r row) bool { return r.Bytes == 0 })
}

// add adds a run to the row of its format; exact is that of float32.
func (of *row) add(r, exact run) {
	of.Bytes, of.Ratio = r.SumBytes, float64(r.SumBytes)/float64(max(exact.SumBytes, 1))
	if r.Link > 0 {
		of.Link, of.StepMS, of.Speedup = r.Link, r.StepMS, exact.StepMS/r.StepMS
		return
	}
	percent := 100 * (r.ValLoss/exact.ValLoss - 1)
	of.Seeds, of.Steps = of.Seeds+1, r.Steps
	of.Loss += (r.ValLoss - of.Loss) / float64(of.Seeds)
	of.Difference += (percent - of.Difference) / float64(of.Seeds)
	if of.Seeds == 1 || percent > of.Worst {
		of.Worst = percent
	}
}

func write(stdout io.Writer, rows []row) {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "sums\tbytes a step\tratio\tseeds\tsteps\theld-out\tdifference\tworst seed\tlink(Mbit/s)\tstep(ms)\tspeedup\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%.3f\t%d\t%d\t%.4f\t%+.2f%%\t%+.2f%%\t%d\t%.0f\t%.2f\t\n",
			r.Sums, r.Bytes, r.Ratio, r.Seeds, r.Steps, r.Loss, r.Difference, r.Worst, r.Link, r.StepMS, r.Speedup)
	}
	_ = w.Flush()
}
