package lsh

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Measures what compressing rows (LSH-MoE) gains on slow links, and what it costs in loss, on the model of examples/train.

usage: go run ./bench lsh [flags]
       go run ./bench lsh -task errors [flags]    (see its -h)

Speed, as root on Linux: four ranks, a process each in a network namespace behind a link held to a rate by token buckets (tc tbf), train
-speed-steps steps; step_ms is the median. a2a_share is the part of an uncompressed step in which rows are exchanged.

Quality: every variant trains in one process, with -seeds seeds, and is evaluated with rows in float32, none of them compressed (val_loss), and as trained
(the losses called matched). -task says what is learned:
  lm        each next byte, from the start
  finetune  the same, from a checkpoint that -base-steps steps without compression have made, one a seed
  mlm       masked bytes, with attention both ways, from the start, or, with -base-steps, from such a checkpoint
contribution_kept is (L0 − L) ÷ (L0 − L1): L0 is the held-out loss where experts answer nothing in all training, L1 that without compression, L the variant's.
gain is (Ls − L) ÷ (Ls − L1) with Ls the loss at the start, where a checkpoint is that: the part of what fine-tuning gains that is left.
-rows N makes groups of N rows, an expert's in the mean, on one rank, of a model of width 128; that is how finetune and mlm measure. Without it lm is learned by four ranks, with the
model that speed is measured of. The links' rates do not matter to losses, so quality is measured once.

torch is the same model as one writes it with torch and Gloo, of which only speed is measured. The name of any variant may end in ×F, with F from 1 to 1.5: it trains F times as
many steps. time_to_loss_speedup is the time of all uncompressed steps over that which a variant needs to reach L1, by the losses of those with ×F that are measured.
Variants with +overlap compute in two chunks, and have the losses of those without, as have those with +nodes. Variants with +micro have two micro-batches of half the batch in flight.
Those with +sums sum gradients of dense parameters over ranks in fp8 (for the loss of that see bench sums).

-json FILE writes an object a line. Of each variant and seed (seed counts from 1): task, variant, seed, rows, rate, val_loss, val_loss_trained, contribution_kept, contribution_kept_matched,
gain, gain_matched, bytes_ratio (of rows on all legs, to those of float32). Of each variant, and each rate of links, with seed 0: the means of these over seeds and the standard errors contribution_kept_se
and gain_se, and link_mbps, a2a_share, step_ms, speedup, time_to_loss_speedup (0: not reached), seeds, wire_bytes (of all ranks, a step). The file is written anew after each training.
-in prints and draws what several such files have together.

-cache FOLDER keeps checkpoints and outcomes of training for quality: the same command goes on where it was cut off. A folder is of one version of the program
and of Go's own text.

With -node-ranks 2 the four ranks are two nodes: ranks of a node talk through shared memory, and share its link. Variants with +nodes then send a row
once to a node that has several of a token's experts, and lsh-pairs makes clusters of a node's rows.

Flags:
`

// options are the flags of lsh.
type options struct {
	rates                                 []int
	steps, speedSteps, dim, batch, hidden int
	qualityBatch, nodeRanks               int
	baseSteps, groupRows, evalBatches     int
	qualityDim                            int
	variants                              []variant

	task, rateText, variantText, text string
	jsonFile, svgFile, inFiles, cache string
	seeds, firstSeed                  int
	noSpeed, noQuality, short         bool
}

// The tasks that are trained for quality.
const lmTask, finetuneTask, mlmTask = "lm", "finetune", "mlm"

// noExpertsName is the variant whose experts answer nothing.
const noExpertsName, plainName = "no-experts", "plain"

func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("lsh", flag.ContinueOnError)
	o.declare(f)
	o.declareQuality(f)
	err := harness.ParseFlags(f, usage, args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		var names []string
		for _, v := range variants() {
			names = append(names, v.name)
		}
		fmt.Fprintf(stdout, "\nvariants: %s\n", strings.Join(names, ", "))
		return o, err
	}
	if err != nil {
		return o, err
	}
	if o.short {
		o.shorten()
	}
	return o, o.resolve()
}

// declare adds the flags of all measurements and of speed.
func (o *options) declare(f *flag.FlagSet) {
	f.StringVar(&o.rateText, "rates", "500,150", "Mbit/s of the links")
	f.IntVar(&o.speedSteps, "speed-steps", 12, "steps of a run for speed")
	f.IntVar(&o.dim, "dim", 256, "width of the model, of which speed is measured, and quality without -rows")
	f.IntVar(&o.batch, "batch", 256, "sequences of 64 bytes in a step for speed")
	f.IntVar(&o.hidden, "hidden", 1024, "hidden units of dense blocks of that model, and twice those of an expert")
	f.IntVar(&o.nodeRanks, "node-ranks", 1, "ranks of a node, 1 or 2, where speed is measured")
	f.StringVar(&o.variantText, "variants", "", "only these, beside plain and no-experts; default all")
	f.BoolVar(&o.noSpeed, "no-speed", false, "measure quality alone")
	f.BoolVar(&o.noQuality, "no-quality", false, "measure speed alone")
	f.BoolVar(&o.short, "short", false, "a few small steps of three variants: finish within seconds; the figures mean nothing then")
	outfile.Var(f, &o.svgFile, "svg", "", "draw how many times as fast steps are to this `file`")
	f.StringVar(&o.inFiles, "in", "", "measure nothing: print and draw what -json wrote to these `files`, separated by commas")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file, one JSON object a line")
}

// declareQuality adds the flags of training for quality.
func (o *options) declareQuality(f *flag.FlagSet) {
	f.StringVar(&o.task, "task", lmTask, "what is learned for quality: lm, finetune or mlm; or errors, which is another command")
	f.IntVar(&o.groupRows, "rows", 0, "rows of a group: those of an expert on the one rank, in the mean, from 256 to 16384; 0 is 1024, and with -task lm four ranks and -quality-batch")
	f.IntVar(&o.qualityDim, "quality-dim", 128, "width of the model with -rows, and half the hidden units of its dense blocks and experts")
	f.IntVar(&o.qualityBatch, "quality-batch", 64, "sequences of 64 bytes in a step for quality without -rows; how many rows are clustered together depends on it")
	f.IntVar(&o.steps, "steps", 0, "steps of a training run for quality; 0 is what the task has: lm 300, or 200 with -rows; finetune 100, or 60 with more than 1024 rows; mlm 250, or as finetune")
	f.IntVar(&o.baseSteps, "base-steps", -1, "steps without compression before those; -1 is 300 with -task finetune, and none with -task mlm")
	f.IntVar(&o.seeds, "seeds", 3, "seeds of each variant")
	f.IntVar(&o.firstSeed, "first-seed", 1, "the first of them")
	f.StringVar(&o.text, "text", "", "`file` to learn, or folder of Go code; default is the text in Go's source tree")
	f.IntVar(&o.evalBatches, "eval-batches", 0, "batches of held-out text that are evaluated; 0 takes all")
	f.StringVar(&o.cache, "cache", "", "`folder` that keeps checkpoints and outcomes of training for quality")
}

// shorten makes everything small.
func (o *options) shorten() {
	o.steps, o.speedSteps, o.seeds, o.dim, o.batch, o.qualityBatch, o.hidden = 2, 2, 1, 32, 16, 16, 32
	o.rateText, o.qualityDim, o.evalBatches = "1000", 32, 1
	if o.variantText == "" {
		o.variantText = "paper"
	}
	if o.task != lmTask {
		o.groupRows = 256
	}
	if o.baseSteps != 0 && o.task == finetuneTask || o.baseSteps > 0 {
		o.baseSteps = 2
	}
}

// resolve turns texts into what they name, and reports every fault.
func (o *options) resolve() error {
	var l harness.Limits
	o.rates = l.Rates(o.rateText, 100_000)
	faults := append(l.Faults, o.resolveTask()...)
	for name, n := range map[string]int{"steps": o.steps, "speed-steps": o.speedSteps, "seeds": o.seeds, "first-seed": o.firstSeed, "dim": o.dim, "batch": o.batch,
		"quality-batch": o.qualityBatch, "quality-dim": o.qualityDim, "hidden": o.hidden} {
		if n < 1 {
			faults = append(faults, fmt.Errorf("-%s %d: want at least 1", name, n))
		}
	}
	if o.evalBatches < 0 {
		faults = append(faults, fmt.Errorf("-eval-batches %d: want at least 0", o.evalBatches))
	}
	if o.noSpeed && o.noQuality && o.inFiles == "" {
		faults = append(faults, errors.New("-no-speed -no-quality: nothing is left to measure"))
	}
	if o.noSpeed && o.svgFile != "" && o.inFiles == "" {
		faults = append(faults, errors.New("-svg: with -no-speed there is no speed to draw"))
	}
	if o.nodeRanks != 1 && o.nodeRanks != 2 {
		faults = append(faults, fmt.Errorf("-node-ranks %d: want 1 or 2", o.nodeRanks))
	}
	return errors.Join(append(faults, o.resolveVariants()...)...)
}

// resolveTask sets what the task leaves open.
func (o *options) resolveTask() (faults []error) {
	if o.groupRows == 0 && o.task != lmTask {
		o.groupRows = 1024
	}
	if n := o.groupRows; n != 0 && (n < 256 || n > 16384 || n%leastRows != 0) {
		faults = append(faults, fmt.Errorf("-rows %d: want 256 to 16384, a multiple of %d", n, leastRows))
	}
	fine := o.baseSteps > 0 || o.baseSteps < 0 && o.task == finetuneTask
	steps := map[string]int{lmTask: 300, finetuneTask: 100, mlmTask: 250}[o.task]
	switch {
	case steps == 0:
		o.steps = max(o.steps, 1) // one fault is enough
		return append(faults, fmt.Errorf("-task %q: want lm, finetune, mlm or errors", o.task))
	case o.task == lmTask && o.baseSteps > 0, o.task == finetuneTask && o.baseSteps == 0:
		faults = append(faults, fmt.Errorf("-base-steps %d: -task lm has none, and -task finetune needs some", o.baseSteps))
	case fine && o.groupRows > 1024:
		steps = 60
	case fine:
		steps = 100
	case o.task == lmTask && o.groupRows > 0:
		steps = 200
	}
	if o.steps == 0 {
		o.steps = steps
	}
	if o.baseSteps < 0 {
		o.baseSteps = 0
		if fine {
			o.baseSteps = 300
		}
	}
	return faults
}

// resolveVariants finds the variants of -variants.
func (o *options) resolveVariants() (faults []error) {
	wanted := strings.Split(o.variantText, ",")
	for i, name := range wanted {
		if name != "" && slices.Contains(wanted[:i], name) {
			faults = append(faults, fmt.Errorf("-variants %s: %q is there twice", o.variantText, name))
		}
	}
	for _, v := range variants() {
		always := v.name == plainName || v.name == noExpertsName
		if o.variantText == "" || always || slices.Contains(wanted, v.name) {
			o.variants = append(o.variants, v)
		}
		wanted = slices.DeleteFunc(wanted, func(name string) bool { return name == v.name || name == "" })
	}
	for _, name := range wanted {
		v, err := longer(name)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		o.variants = append(o.variants, v)
	}
	return faults
}

// longer is the variant of a name that ends in ×F.
func longer(name string) (v variant, err error) {
	base, factor, _ := strings.Cut(name, "×")
	f, err := strconv.ParseFloat(factor, 64)
	for _, v := range variants() {
		if err == nil && v.name == base && f >= 1 && f <= 1.5 && !math.IsNaN(f) {
			v.name, v.times = name, f
			return v, nil
		}
	}
	return v, fmt.Errorf("-variants %q: -h lists them; their names may end in ×F, F from 1 to 1.5", name)
}
