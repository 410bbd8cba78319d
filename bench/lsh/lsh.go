// Package lsh is a command of bench: it measures what compression gains in speed and costs in loss.
package lsh

import (
	"bytes"
	"context"
	_ "embed" // for the model in torch
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/bench/internal/peers"
	"github.com/switchyard-moe/switchyard/bench/lsh/law"
	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Measures what compressing rows (LSH-MoE) gains on slow links, and what it costs in loss, on the model of examples/train.

usage: go run ./bench lsh [flags]

Speed, as root on Linux: four ranks, a process each in a network namespace behind a link held to a rate by token buckets (tc tbf), train
-speed-steps steps; step_ms is the median. a2a_share is the part of an uncompressed step in which rows are exchanged.

Quality: every variant trains -steps steps in one process, -seeds seeds, and is evaluated uncompressed. contribution_kept is (L0 − L) ÷ (L0 − L1):
L0 is the held-out loss where experts answer nothing, L1 that without compression, L the variant's, in the mean over seeds; 1 keeps all that experts
are worth. torch is the same model as one writes it with torch and Gloo, of which only speed is measured. Variants that end in ×F train F times as many steps; where they end below L1, time_to_loss_speedup is the time of all
uncompressed steps over that of theirs. Variants with +overlap compute in two chunks, and have the losses of those without, as have those with +nodes. The links' rates do not matter to losses, so quality is measured once.

-json FILE writes an object a line: variant, link_mbps, a2a_share, rate, step_ms, speedup, val_loss, contribution_kept, time_to_loss_speedup
(0: not reached), seeds, wire_bytes (of all ranks, a step).

With -node-ranks 2 the four ranks are two nodes: ranks of a node talk through shared memory, and share its link. Variants with +nodes then send a row
once to a node that has several of a token's experts, and lsh-pairs makes clusters of a node's rows.
Variants with +micro have two micro-batches of half the batch in flight.

Flags:
`

// options are the flags of lsh.
type options struct {
	Rates, Seeds                          []int
	steps, speedSteps, dim, batch, hidden int
	qualityBatch, nodeRanks               int
	variants                              []variant

	rateText, variantText     string
	jsonFile, svgFile, inFile string
	seeds                     int
	noSpeed, noQuality, short bool
}

// noExpertsName is the variant whose experts answer nothing.
const noExpertsName, plainName = "no-experts", "plain"

// torchModelName is the variant that is the same model as one writes it with torch and Gloo, of
// which only the speed is measured.
const torchModelName = "torch"

// modelScript is that model.
//
//go:embed model.py
var modelScript []byte

func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("lsh", flag.ContinueOnError)
	f.StringVar(&o.rateText, "rates", "500,150", "Mbit/s of the links")
	f.IntVar(&o.steps, "steps", 300, "steps of a training run for quality")
	f.IntVar(&o.speedSteps, "speed-steps", 12, "steps of a run for speed")
	f.IntVar(&o.seeds, "seeds", 3, "seeds of each variant")
	f.IntVar(&o.dim, "dim", 256, "width of the model")
	f.IntVar(&o.batch, "batch", 256, "sequences of 64 bytes in a step for speed")
	f.IntVar(&o.qualityBatch, "quality-batch", 64, "the same for quality; how many rows are clustered together depends on it")
	f.IntVar(&o.hidden, "hidden", 1024, "hidden units of dense blocks, and twice those of an expert")
	f.IntVar(&o.nodeRanks, "node-ranks", 1, "ranks of a node, 1 or 2, where speed is measured")
	f.StringVar(&o.variantText, "variants", "", "only these, beside plain and no-experts; default all")
	f.BoolVar(&o.noSpeed, "no-speed", false, "measure quality alone")
	f.BoolVar(&o.noQuality, "no-quality", false, "measure speed alone")
	f.BoolVar(&o.short, "short", false, "a few small steps of three variants: finish within seconds; the figures mean nothing then")
	outfile.Var(f, &o.svgFile, "svg", "", "draw how many times as fast steps are to this `file`")
	f.StringVar(&o.inFile, "in", "", "measure nothing: print and draw what -json wrote to this `file`")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file, one JSON object a line")
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
		o.steps, o.speedSteps, o.seeds, o.dim, o.batch, o.qualityBatch, o.hidden, o.rateText, o.variantText = 2, 2, 1, 32, 16, 16, 32, "1000", "paper"
	}
	return o, o.resolve()
}

// resolve turns texts into what they name, and reports every fault.
func (o *options) resolve() error {
	var faults []error
	for _, field := range strings.Split(o.rateText, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 || n > 100_000 {
			faults = append(faults, fmt.Errorf("-rates %q: want 1 to 100000", field))
		}
		o.Rates = append(o.Rates, n)
	}
	for name, n := range map[string]int{"steps": o.steps, "speed-steps": o.speedSteps, "seeds": o.seeds, "dim": o.dim, "batch": o.batch, "quality-batch": o.qualityBatch, "hidden": o.hidden} {
		if n < 1 {
			faults = append(faults, fmt.Errorf("-%s %d: want at least 1", name, n))
		}
	}
	if o.nodeRanks != 1 && o.nodeRanks != 2 {
		faults = append(faults, fmt.Errorf("-node-ranks %d: want 1 or 2", o.nodeRanks))
	}
	wanted := map[string]bool{}
	for _, name := range strings.Split(o.variantText, ",") {
		wanted[name] = name != ""
	}
	for _, v := range variants() {
		if o.variantText == "" || wanted[v.name] || v.name == plainName || v.name == noExpertsName {
			o.variants = append(o.variants, v)
		}
		delete(wanted, v.name)
	}
	for name := range wanted {
		if name != "" {
			faults = append(faults, fmt.Errorf("-variants %q: -h lists them", name))
		}
	}
	return errors.Join(faults...)
}

// Run is the command.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if law.Asked(args) {
		return law.Run(ctx, args, stdout, stderr)
	}
	o, err := parseOptions(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "lsh", err)
	}
	var rows []row
	if o.inFile != "" {
		rows, err = readRows(o.inFile)
	} else {
		rows, err = o.measure(ctx, stderr)
	}
	if len(rows) > 0 {
		writeTable(stdout, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows), drawSpeedups(o.svgFile, rows))
	}
	return harness.Conclude(ctx, err, stderr)
}

// row is one variant on links of one rate, and a line of the JSON file.
type row struct {
	Variant    string  `json:"variant"`
	Link       int     `json:"link_mbps"`
	Share      float64 `json:"a2a_share"`
	Rate       float64 `json:"rate"`
	Step       float64 `json:"step_ms"`
	Speedup    float64 `json:"speedup"`
	Loss       float64 `json:"val_loss"`
	Kept       float64 `json:"contribution_kept"`
	TimeToLoss float64 `json:"time_to_loss_speedup"`
	Seeds      int     `json:"seeds"`
	Wire       uint64  `json:"wire_bytes"`

	times float64
}

// lshRun is what examples/train writes of a run.
type lshRun struct {
	ValLoss       float64 `json:"val_loss"`
	StepMS        float64 `json:"step_ms"`
	ExchangeShare float64 `json:"exchange_share"`
	WireBytes     uint64  `json:"wire_bytes"`
}

// measure builds the program, trains for quality, then for speed at each rate.
func (o *options) measure(ctx context.Context, stderr io.Writer) (rows []row, err error) {
	p := harness.NewPace(stderr, "lsh", o.turns(), o.expected())
	dir, err := os.MkdirTemp("", "switchyard-bench-lsh-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "train")
	if _, err := harness.Output(ctx, "go", "build", "-o", program, harness.TrainPackage); err != nil {
		return nil, err
	}
	losses := map[string]float64{}
	if !o.noQuality {
		if losses, err = o.quality(ctx, program, dir, p); err != nil {
			if len(losses) == 0 {
				return nil, err
			}
			return o.rows(0, nil, losses), err
		}
	}
	if o.noSpeed {
		return o.rows(0, nil, losses), nil
	}
	c, err := netns.New(ctx, 4/o.nodeRanks, o.nodeRanks, 0)
	if err != nil {
		return o.rows(0, nil, losses), err
	}
	defer func() { err = errors.Join(err, c.Remove()) }()
	for _, rate := range o.Rates {
		if err := c.Limit(ctx, rate); err != nil {
			return rows, err
		}
		runs := map[string]lshRun{}
		for _, v := range o.variants {
			if !o.timesSpeed(v) {
				continue
			}
			p.Next("%d Mbit/s: %s", rate, v.name)
			if v.name == torchModelName {
				if runs[v.name], err = o.runTorch(ctx, c, dir, stderr); err != nil {
					return append(rows, o.rows(rate, runs, losses)...), err
				}
				continue
			}
			v.flags = append(slices.Clone(v.flags), "-node-ranks", fmt.Sprint(o.nodeRanks))
			args := o.flags(v, o.batch, o.speedSteps, 1, filepath.Join(dir, "run.json"))
			command := c.Command(append([]string{program, "-insecure"}, args...)...)
			run, err := trainRun(ctx, launch.Config{Ranks: 4, Command: command}, filepath.Join(dir, "run.json"))
			if err != nil {
				return append(rows, o.rows(rate, runs, losses)...), fmt.Errorf("%s at %d Mbit/s: %w", v.name, rate, err)
			}
			runs[v.name] = run
		}
		rows = append(rows, o.rows(rate, runs, losses)...)
	}
	return rows, nil
}

// timesSpeed tells whether a variant is run for speed: not if it is as fast as the one of which it
// is more, nothing that a cluster of these nodes can do, or of no interest.
func (o *options) timesSpeed(v variant) bool {
	return v.times == 1 && !v.nodes && v.until == 0 && (!v.pairs || o.nodeRanks == 2) && v.name != noExpertsName
}

// turns is how many runs there are.
func (o *options) turns() (n int) {
	for _, v := range o.variants {
		if !o.noQuality && trainsForQuality(v) {
			n += o.seeds
		}
		if !o.noSpeed && o.timesSpeed(v) {
			n += len(o.Rates)
		}
	}
	return n
}

// expected is about how long they take, by what a step computes and sends.
func (o *options) expected() (all time.Duration) {
	step := func(batch int) time.Duration {
		return time.Duration(float64(batch*o.dim*o.dim) / (64 * 256 * 256) * 0.3 * float64(time.Second))
	}
	for _, v := range o.variants {
		if !o.noQuality && trainsForQuality(v) {
			all += harness.Times(o.seeds*o.steps, step(o.qualityBatch))
		}
		if o.noSpeed || !o.timesSpeed(v) {
			continue
		}
		for _, rate := range o.Rates {
			link := float64(o.batch*64*o.dim*4*8*2*4) / 4 * v.rate * 2 / float64(rate*1_000_000)
			all += 5*time.Second + harness.Times(o.speedSteps, step(o.batch)+time.Duration(link*float64(time.Second)))
		}
	}
	return all
}

// trainsForQuality tells whether a variant has losses of its own.
func trainsForQuality(v variant) bool {
	return lossesOf(v.name) == v.name && v.name != torchModelName
}

// runTorch runs the model in torch on the cluster, if there is a torch.
func (o *options) runTorch(ctx context.Context, c *netns.Cluster, dir string, stderr io.Writer) (lshRun, error) {
	script, file := filepath.Join(dir, "model.py"), filepath.Join(dir, "torch.json")
	if err := os.WriteFile(script, modelScript, 0o644); err != nil {
		return lshRun{}, err
	}
	for _, python := range peers.Pythons() {
		if peers.HasTorch(ctx, python) != nil {
			continue
		}
		command := c.Command("env", "GLOO_SOCKET_IFNAME="+netns.Interface, python, script,
			fmt.Sprint(o.dim), fmt.Sprint(o.hidden), fmt.Sprint(max(o.hidden/2, 1)), fmt.Sprint(o.batch), fmt.Sprint(o.speedSteps), file)
		return trainRun(ctx, launch.Config{Ranks: 4, Command: command}, file)
	}
	fmt.Fprintln(stderr, "bench: skipped torch: to compare with it: apt-get install python3-torch libopenblas0")
	return lshRun{}, nil
}

// quality trains every variant with every seed, and returns the mean losses. Where one fails, those
// of the variants before are returned, and of that one the mean of its seeds so far.
func (o *options) quality(ctx context.Context, program, dir string, p *harness.Pace) (map[string]float64, error) {
	losses := map[string]float64{}
	for _, v := range o.variants {
		if !trainsForQuality(v) {
			continue
		}
		for seed := range o.seeds {
			p.Next("%s, seed %d", v.name, seed+1)
			steps := int(float64(o.steps)*v.times + 0.5)
			file := filepath.Join(dir, "run.json")
			args := append([]string{"-transport", "inproc", "-ranks", "4"}, o.flags(v, o.qualityBatch, steps, seed+1, file)...)
			var run lshRun
			_, err := harness.Output(ctx, program, args...)
			if err == nil {
				run, err = readRun(file)
			}
			if err != nil {
				return losses, fmt.Errorf("%s, seed %d: %w", v.name, seed+1, err)
			}
			fmt.Fprintf(p.To, "bench: %s, seed %d: held-out loss %.4f\n", v.name, seed+1, run.ValLoss)
			losses[v.name] += (run.ValLoss - losses[v.name]) / float64(seed+1)
		}
	}
	return losses, nil
}

// flags are those of examples/train for a variant.
func (o *options) flags(v variant, batch, steps, seed int, file string) []string {
	if v.until > 0 {
		v.flags = append(v.flags, "-compress-until", fmt.Sprint(int(v.until*float64(steps))))
	}
	return append([]string{
		"-dim", fmt.Sprint(o.dim), "-hidden", fmt.Sprint(o.hidden), "-expert-hidden", fmt.Sprint(max(o.hidden/2, 1)), "-batch", fmt.Sprint(batch),
		"-lr", "0.001", "-capacity", "0", "-steps", fmt.Sprint(steps), "-seed", fmt.Sprint(seed), "-json", file, "-svg", "", "-sample", "0", "-eval-every", "0", "-progress", "none",
	}, v.flags...)
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
	data, err := os.ReadFile(file)
	if err != nil {
		return run, err
	}
	return run, json.Unmarshal(data, &run)
}
