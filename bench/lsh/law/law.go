package law

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Measures, on tokens of a trained model, how far each way to send rows is from float32 rows: the layer's output, the gradients of experts' weights and those of rows. Fits laws to that.

usage: go run ./bench lsh -task errors -record FILE[,FILE] [flags]

A file is what go run ./examples/train -ranks 1 -init CHECKPOINT -lr 0 -batch 64 -steps 16 -record FILE writes, with the sizes of the checkpoint's model: 65536 tokens, as groups of 16384 rows need.
With -losses it relates the loss of trainings (-json of -task finetune) to the errors of the same variants.

-json FILE writes an object a line as soon as it is known: task, seed, block, variant, rate, rows (of a group; 0: all rows travel), tokens (over which errors are taken), error_output, error_weights,
error_rows (‖got − true‖ ÷ ‖true‖; of the layer's output, of the gradients of w1 and w2, of rows' gradients through experts), bytes_ratio. What the file has already is not measured again.

Flags:
`

// options are the flags.
type options struct {
	records, rowText, variantText, jsonFile, inFile, svgFile, lossFile string
	tokens                                                             int
	short                                                              bool

	rows     []int
	variants []variant
}

func parseOptions(args []string, stdout io.Writer) (o options, err error) {
	f := flag.NewFlagSet("lsh", flag.ContinueOnError)
	f.String("task", Task, "errors: this; -h without it tells of the others")
	f.StringVar(&o.records, "record", "", "`files` of tokens, separated by commas")
	f.StringVar(&o.rowText, "rows", "1024,256,4096,64,16384", "rows of a group, in the mean")
	f.StringVar(&o.variantText, "variants", "", "only these; default all")
	f.IntVar(&o.tokens, "tokens", 65536, "tokens that errors are taken over, or as many as there are")
	f.StringVar(&o.jsonFile, "json", "", "append outcomes to this `file`")
	f.StringVar(&o.inFile, "in", "", "measure nothing: print and draw what -json wrote to these `files`")
	f.StringVar(&o.lossFile, "losses", "", "what -json of other tasks wrote to these `files`: compare the loss of training with errors")
	outfile.Var(f, &o.svgFile, "svg", "", "draw errors against rows of a group to this `file`")
	f.BoolVar(&o.short, "short", false, "a few variants and 64 rows of a group alone")
	if err = harness.ParseFlags(f, usage, args, stdout); err != nil {
		return o, err
	}
	if o.short {
		o.rowText, o.tokens = "64", 256
		if o.variantText == "" {
			o.variantText = "clusters-all-legs,none-refined,nvfp4"
		}
	}
	return o, o.resolve()
}

// resolve turns texts into what they name, and reports every fault.
func (o *options) resolve() error {
	var faults []error
	for _, field := range strings.Split(o.rowText, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 || n > 1<<20 {
			faults = append(faults, fmt.Errorf("-rows %q: want 1 to %d", field, 1<<20))
		}
		o.rows = append(o.rows, n)
	}
	if o.tokens < 1 {
		faults = append(faults, fmt.Errorf("-tokens %d: want at least 1", o.tokens))
	}
	if (o.records == "") == (o.inFile == "") {
		faults = append(faults, errors.New("want either -record or -in"))
	}
	wanted := strings.Split(o.variantText, ",")
	for _, v := range variants() {
		if o.variantText == "" || slices.Contains(wanted, v.name) {
			o.variants = append(o.variants, v)
		}
		wanted = slices.DeleteFunc(wanted, func(name string) bool { return name == v.name })
	}
	for _, name := range wanted {
		if name != "" {
			faults = append(faults, fmt.Errorf("-variants %q: there is none", name))
		}
	}
	return errors.Join(faults...)
}

// Asked tells whether the arguments of bench lsh are for this task.
func Asked(args []string) bool {
	for i, arg := range args {
		name, value, given := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !strings.HasPrefix(arg, "-") || name != "task" {
			continue
		}
		if !given && i+1 < len(args) {
			value = args[i+1]
		}
		if value == Task {
			return true
		}
	}
	return false
}

// Run is the command.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "lsh", err)
	}
	list, err := o.outcomes(ctx, stderr)
	if len(list) > 0 {
		err = errors.Join(err, o.report(stdout, list))
	}
	return harness.Conclude(ctx, err, stderr)
}

// report prints outcomes, laws, and what training lost, and draws them.
func (o *options) report(stdout io.Writer, list []outcome) error {
	writeTable(stdout, list)
	writeFits(stdout, list)
	var pairs []pair
	if o.lossFile != "" {
		var trained []training
		for _, file := range strings.Split(o.lossFile, ",") {
			more, err := readTrainings(file)
			if err != nil {
				return err
			}
			trained = append(trained, more...)
		}
		pairs = pairsOf(seriesOf(list), trained)
	}
	writeRelation(stdout, pairs)
	writeSizes(stdout)
	return drawLaw(o.svgFile, seriesOf(list), pairs)
}

// outcomes reads or measures.
func (o *options) outcomes(ctx context.Context, stderr io.Writer) (list []outcome, err error) {
	if o.inFile != "" {
		for _, file := range strings.Split(o.inFile, ",") {
			more, err := readOutcomes(file)
			if err != nil {
				return nil, err
			}
			list = append(list, more...)
		}
		return list, nil
	}
	if o.jsonFile != "" {
		if list, err = readOutcomes(o.jsonFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	for _, path := range strings.Split(o.records, ",") {
		blocks, err := readRecord(path)
		if err != nil {
			return list, err
		}
		for _, b := range blocks {
			if list, err = o.measure(ctx, b, list, stderr); err != nil {
				return list, err
			}
		}
	}
	return list, nil
}

// measure adds the outcomes of one block to those that there are.
func (o *options) measure(ctx context.Context, b *block, list []outcome, stderr io.Writer) ([]outcome, error) {
	known := map[outcome]bool{}
	for _, was := range list {
		known[was.key()] = true
	}
	m := &measurer{block: b, least: o.tokens}
	for _, p := range points(o.variants, o.rows) {
		out, ok := m.outcome(p)
		if !ok || known[out] {
			continue
		}
		start := time.Now()
		if err := m.measure(ctx, p, &out); err != nil {
			return list, err
		}
		fmt.Fprintf(stderr, "bench: seed %d, %s, %s, rate %.2f, %d rows: output %.4f, weights %.4f, rows %.4f (%.1f s)\n",
			out.Seed, out.Block, out.Variant, out.Rate, out.Rows, out.Output, out.Weights, out.Values, time.Since(start).Seconds())
		list = append(list, out)
		if err := appendOutcome(o.jsonFile, out); err != nil {
			return list, err
		}
	}
	return list, nil
}

// readOutcomes reads what appendOutcome has written.
func readOutcomes(path string) (list []outcome, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var o outcome
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, len(list)+1, err)
		}
		if o.Task == Task {
			list = append(list, o)
		}
	}
	return list, nil
}

// appendOutcome adds a line to a file, if there is a name.
func appendOutcome(path string, o outcome) (err error) {
	if path == "" {
		return nil
	}
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(append(line, '\n'))
	return err
}
