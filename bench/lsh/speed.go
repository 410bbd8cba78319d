package lsh

import (
	"context"
	_ "embed" // for the model in torch
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/bench/internal/peers"
	"github.com/switchyard-moe/switchyard/internal/launch"
)

// torchModelName is the variant that is the same model as one writes it with torch and Gloo, of
// which only the speed is measured.
const torchModelName = "torch"

// modelScript is that model.
//
//go:embed model.py
var modelScript []byte

// speed times every variant on links of each rate, and has m keep the times.
func (o *options) speed(ctx context.Context, program, dir string, m *measured, p *harness.Pace) (err error) {
	c, err := netns.New(ctx, 4/o.nodeRanks, o.nodeRanks, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Remove()) }()
	for _, rate := range o.rates {
		if err := c.Limit(ctx, rate); err != nil {
			return err
		}
		for _, v := range o.variants {
			if !o.timesSpeed(v) {
				continue
			}
			p.Next("%d Mbit/s: %s", rate, v.name)
			run, err := o.timed(ctx, program, dir, c, v, p)
			if err != nil {
				return fmt.Errorf("%s at %d Mbit/s: %w", v.name, rate, err)
			}
			m.time(rate, v.name, timing{run.StepMS, run.ExchangeShare, run.WireBytes / uint64(o.speedSteps)})
		}
	}
	return nil
}

// timed runs a variant on the cluster.
func (o *options) timed(ctx context.Context, program, dir string, c *netns.Cluster, v variant, p *harness.Pace) (lshRun, error) {
	if v.name == torchModelName {
		return o.runTorch(ctx, c, dir, p)
	}
	v.flags = append(slices.Clone(v.flags), "-node-ranks", fmt.Sprint(o.nodeRanks))
	file := filepath.Join(dir, "run.json")
	command := c.Command(slices.Concat([]string{program, "-insecure", "-json", file}, o.flags(v, o.batch, o.speedSteps, 1))...)
	return trainRun(ctx, launch.Config{Ranks: 4, Command: command}, file)
}

// timesSpeed tells whether a variant is run for speed: not if it is as fast as the one of which it
// is more, nothing that a cluster of these nodes can do, or of no interest.
func (o *options) timesSpeed(v variant) bool {
	return v.times == 1 && !v.nodes && v.until == 0 && (!v.pairs || o.nodeRanks == 2) && v.name != noExpertsName
}

// runTorch runs the model in torch on the cluster, if there is a torch.
func (o *options) runTorch(ctx context.Context, c *netns.Cluster, dir string, p *harness.Pace) (lshRun, error) {
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
	fmt.Fprintln(p.To, "bench: skipped torch: to compare with it: apt-get install python3-torch libopenblas0")
	return lshRun{}, nil
}

// turns is how many runs there are.
func (o *options) turns() (n int) {
	for _, v := range o.variants {
		if !o.noQuality && trainsForQuality(v) {
			n += o.seeds
		}
		if !o.noSpeed && o.timesSpeed(v) {
			n += len(o.rates)
		}
	}
	return n
}

// expected is about how long they take, by what a step computes and sends.
func (o *options) expected() (all time.Duration) {
	step := func(batch, dim int) time.Duration {
		return time.Duration(float64(batch*dim*dim) / (64 * 256 * 256) * 0.3 * float64(time.Second))
	}
	trained := harness.Times(o.steps, step(o.qualityBatch, o.dim))
	if o.groupRows > 0 {
		const overhead = 5 // of a narrow model
		trained = overhead * harness.Times(o.steps, step(o.groupRows/rowsOfSequence, o.qualityDim))
		all += 2 * overhead * harness.Times(o.seeds*o.baseSteps, step(baseBatch, o.qualityDim))
	}
	for _, v := range o.variants {
		if !o.noQuality && trainsForQuality(v) {
			all += harness.Times(o.seeds, time.Duration(v.times*float64(trained)))
		}
		if o.noSpeed || !o.timesSpeed(v) {
			continue
		}
		for _, rate := range o.rates {
			link := float64(o.batch*64*o.dim*4*8*2*4) / 4 * v.rate * 2 / float64(rate*1_000_000)
			all += 5*time.Second + harness.Times(o.speedSteps, step(o.batch, o.dim)+time.Duration(link*float64(time.Second)))
		}
	}
	return all
}
