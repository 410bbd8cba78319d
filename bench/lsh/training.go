package lsh

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/launch"
)

// lshRun is what examples/train writes of a run.
type lshRun struct {
	ValLoss        float64 `json:"val_loss"`
	ValLossTrained float64 `json:"val_loss_trained"`
	StepMS         float64 `json:"step_ms"`
	ExchangeShare  float64 `json:"exchange_share"`
	WireBytes      uint64  `json:"wire_bytes"`
}

// trainRun runs the program's ranks and reads what they have written.
func trainRun(ctx context.Context, cfg launch.Config, file string) (run lshRun, err error) {
	var out bytes.Buffer
	cfg.Stdout, cfg.Stderr = &out, &out
	if err := launch.Run(ctx, cfg); err != nil {
		return run, fmt.Errorf("%w%s", err, harness.Quoted(out.String()))
	}
	return readRun(file)
}

func readRun(file string) (run lshRun, err error) {
	return run, harness.ReadJSON(file, &run)
}

// flags are those of examples/train for a variant of the model that speed is measured of.
func (o *options) flags(v variant, batch, steps, seed int) []string {
	return slices.Concat([]string{
		"-dim", fmt.Sprint(o.dim), "-hidden", fmt.Sprint(o.hidden), "-expert-hidden", fmt.Sprint(max(o.hidden/2, 1)), "-batch", fmt.Sprint(batch),
		"-lr", "0.001", "-capacity", "0", "-steps", fmt.Sprint(steps), "-seed", fmt.Sprint(seed),
	}, harness.QuietFlags(), v.flagsFor(steps))
}

// flagsFor are the flags of a variant for a number of steps.
func (v variant) flagsFor(steps int) []string {
	if v.until == 0 {
		return v.flags
	}
	return append(slices.Clip(v.flags), "-compress-until", fmt.Sprint(int(v.until*float64(steps))))
}

// Sequences of a step whose groups have 1024 rows, which checkpoints are trained with, and the
// least multiple of rows: a sequence of 64 bytes, of which each goes to 2 of 8 experts, makes 16
// rows of an expert, and a batch is cut into 8.
const baseBatch, rowsOfSequence, leastRows = 64, 16, 128

// A schedule is how long and how fast is learned, in batches of how many sequences.
type schedule struct {
	batch, warmup, steps int
	rate                 string
}

// Schedules of learning from the start, of going on from a checkpoint, and of looking at it.
func (o *options) scratch(steps int) schedule {
	return schedule{batch: o.groupRows / rowsOfSequence, rate: "0.002", warmup: 30, steps: steps}
}

func (o *options) base() schedule {
	return schedule{batch: baseBatch, rate: "0.002", warmup: 30, steps: o.baseSteps}
}

func (o *options) tuning(steps int) schedule {
	s := schedule{batch: o.groupRows / rowsOfSequence, rate: "0.0006", warmup: 10, steps: steps}
	if s.batch > baseBatch {
		s.rate = "0.001"
	}
	return s
}

func (o *options) standing() schedule {
	return schedule{batch: o.groupRows / rowsOfSequence, rate: "0", steps: 1}
}

// groupFlags are those of examples/train for a variant on one rank, with groups of -rows.
func (o *options) groupFlags(v variant, s schedule, seed int) []string {
	inner := fmt.Sprint(2 * o.qualityDim)
	objective := "next"
	if o.task == mlmTask {
		objective = "masked"
	}
	list := slices.Concat([]string{
		"-transport", "inproc", "-ranks", "1", "-dim", fmt.Sprint(o.qualityDim), "-hidden", inner, "-expert-hidden", inner, "-layers", "4", "-heads", "4",
		"-experts", "8", "-topk", "2", "-seq", "64", "-capacity", "0", "-balance", "0.02",
		"-objective", objective, "-batch", fmt.Sprint(s.batch), "-lr", s.rate, "-warmup", fmt.Sprint(s.warmup), "-steps", fmt.Sprint(s.steps), "-seed", fmt.Sprint(seed),
	}, v.flagsFor(s.steps), harness.QuietFlags())
	return o.withText(list)
}

// withText adds the flags of what is learned and evaluated.
func (o *options) withText(list []string) []string {
	if o.text != "" {
		list = append(list, "-text", o.text)
	}
	if o.evalBatches > 0 {
		list = append(list, "-eval-batches", fmt.Sprint(o.evalBatches))
	}
	return list
}

// trainings run the program for quality, and keep what comes of it in a folder.
type trainings struct {
	*options
	program, dir string
	digest       string // of -text
	pace         *harness.Pace
}

// folder is where outcomes are kept.
func (t *trainings) folder() string {
	if t.cache != "" {
		return t.cache
	}
	return t.dir
}

// key names a training by all that decides on its outcome; from is that of the checkpoint that it
// starts with, and digest that of its text, empty for the default.
func key(flags []string, from, digest string) string {
	text := strings.Join(flags, " ")
	if from != "" {
		text += " init " + from
	}
	if digest != "" {
		text += " text " + digest
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))[:16]
}

// train trains with some flags, unless that has been done before. With save it leaves a checkpoint.
func (t *trainings) train(ctx context.Context, flags []string, from string, save bool) (run lshRun, name string, err error) {
	name = key(flags, from, t.digest)
	file, checkpoint := filepath.Join(t.folder(), name+".json"), filepath.Join(t.folder(), name+".checkpoint")
	if save {
		if err := forgetUnsaved(file, checkpoint); err != nil {
			return run, name, err
		}
	}
	if run, err = readRun(file); err == nil || !errors.Is(err, os.ErrNotExist) {
		return run, name, err
	}
	flags = append(slices.Clip(flags), "-json", file)
	if from != "" {
		flags = append(flags, "-init", filepath.Join(t.folder(), from+".checkpoint"))
	}
	if save {
		if err := os.RemoveAll(checkpoint); err != nil { // of a run that was cut off
			return run, name, err
		}
		flags = append(flags, "-save", checkpoint, "-save-every", "0")
	}
	if _, err := harness.Output(ctx, t.program, flags...); err != nil {
		return run, name, err
	}
	run, err = readRun(file)
	return run, name, err
}

// textDigest is that of a file, or of all Go files of a folder and their paths; empty for no path.
func textDigest(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	sum := sha256.New()
	err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || file != path && filepath.Ext(file) != ".go" {
			return err
		}
		text, err := os.ReadFile(file)
		fmt.Fprintf(sum, "%s %d\n%s", file, len(text), text)
		return err
	})
	return fmt.Sprintf("%x", sum.Sum(nil)), err
}

// forgetUnsaved removes the outcome of a training that has left no checkpoint: one of the same
// flags that was not to be gone on from.
func forgetUnsaved(file, checkpoint string) error {
	if _, err := os.Stat(checkpoint); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Remove(file); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
