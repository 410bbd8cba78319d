package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/examples/internal/gpt"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// trainer is one rank's part of the job.
type trainer struct {
	world   *switchyard.World
	options options
	data    *dataset
	model   *gpt.Model
	layers  []*switchyard.Layer
	exact   []*switchyard.Layer // for evaluation, where the layers above change rows on their way
	flight  []microBatch        // all micro-batches of a step, which are in flight at once
	optim   optimizer

	own    *switchyard.Dense // the model's parameters, which every rank holds
	dense  []*param.Set      // the same
	names  []string          // of these sets
	leaves []int             // of each rank

	background *background

	informed   []*informed // all layers of all micro-batches
	recorders  []*recorder // with -record
	randoms    randoms
	textDigest string // SHA-256

	dropped []int // choices of each layer, over all ranks, in the steps of this run

	wire   uint64 // bytes that this rank has sent in training steps
	summed uint64 // and those of them that it has sent after the passes
	traced traced
}

// microBatch is what a micro-batch in flight goes through: a copy of the model with the same
// parameters, for its own activations, and the layers, in a pass of its own.
type microBatch struct {
	model  *gpt.Model
	layers []*informed
}

// newTrainer builds the model and its layers. Every rank calls it with the same options and the
// same text.
func newTrainer(ctx context.Context, world *switchyard.World, o options, text []byte) (*trainer, error) {
	train, held, err := split(text, o)
	if err != nil {
		return nil, err
	}
	if err := agree(ctx, world, o, text); err != nil {
		return nil, err
	}
	if o.record != "" && world.Size() != 1 {
		return nil, fmt.Errorf("-record: there are %d ranks, and it goes with one", world.Size())
	}
	mine := o.shareOf(world.Size(), int(world.Rank()))
	t := &trainer{world: world, options: o, data: &dataset{train: train, held: held, options: o, share: mine}}
	t.background = &background{t: t}
	t.optim = o.newOptimizer()
	t.textDigest = fmt.Sprintf("%x", sha256.Sum256(text))
	if err := t.build(); err != nil {
		return nil, err
	}
	var named []switchyard.NamedSet
	t.dense, t.names = t.model.Params(), t.model.Names()
	for i, set := range t.dense {
		named = append(named, switchyard.NamedSet{Name: t.names[i], Set: set})
	}
	if t.own, err = switchyard.NewDense(world, named...); err != nil {
		return nil, err
	}
	if err = t.own.SetSums(o.sumsFormat()); err != nil {
		return nil, err
	}
	t.background.follow()
	for r := range world.Size() {
		t.leaves = append(t.leaves, o.shareOf(world.Size(), r).count)
	}
	return t, nil
}

// build makes the model: every second block's feed-forward part is a Switchyard layer.
func (t *trainer) build() error {
	o := t.options
	for i := 1; i < o.layers; i += 2 {
		cfg := o.layerConfig(i)
		cfg.Topology = alltoall.Nodes(t.world.Size(), o.nodeRanks)
		// With several micro-batches the clock decides which is done first.
		if o.micro == 1 && (cfg.Overlap.Degree > 1 || cfg.Overlap.Auto) {
			cfg.Overlap.Background = t.background
		}
		if o.trace != "" {
			cfg.Overlap.Observe = t.traced.observer(i)
		}
		if o.compress > 0 && o.hash == "random" {
			cfg.Compression.Assign = randomClusters(o.compress, t.randoms.add(o.seed))
		}
		layer, err := switchyard.NewLayer(t.world, cfg)
		if err != nil {
			return fmt.Errorf("layer of block %d: %w", i, err)
		}
		t.layers = append(t.layers, layer)
	}
	if err := t.buildExact(); err != nil {
		return err
	}
	for range o.micro {
		if err := t.addMicroBatch(); err != nil {
			return err
		}
	}
	t.model = t.flight[0].model
	return nil
}

// addMicroBatch makes what one more micro-batch goes through.
func (t *trainer) addMicroBatch() (err error) {
	var of microBatch
	parts := make([]gpt.Layer, t.options.layers)
	for i, layer := range t.layers {
		l := &informed{Layer: layer, gates: t.options.gates(), side: router.Batch{Micro: len(t.flight)}}
		t.informed, of.layers = append(t.informed, l), append(of.layers, l)
		if len(t.exact) > 0 {
			l.exact = t.exact[i]
		}
		parts[2*i+1] = t.recorded(2*i+1, l)
	}
	if len(t.flight) > 0 {
		of.model, err = t.flight[0].model.Copy(parts, t.world.Compute)
	} else {
		o := t.options
		of.model, err = gpt.New(gpt.Config{
			Seq: o.seq, Dim: o.dim, Heads: o.heads, Layers: o.layers, Hidden: o.hidden, Seed: o.seed,
			Bidirectional: o.objective == maskedObjective,
		}, parts)
	}
	t.flight = append(t.flight, of)
	return err
}

// layerConfig is the mixture of experts of a block. A group is a leaf of the batch, so that drops
// and balance losses do not depend on the number of ranks.
func (o options) layerConfig(block int) switchyard.Config {
	return switchyard.Config{
		Compression: o.compression(),
		Algorithm:   o.exchangeAlgorithm(),

		Dim:          o.dim,
		Experts:      o.layerExperts(block),
		Group:        o.batch / o.groups * o.seq,
		Seed:         o.seed,
		Expert:       o.layerExpert(),
		Wire:         o.wireFormat(),
		Sums:         o.sumsFormat(),
		MicroBatches: o.micro,

		Overlap: switchyard.Overlap{Degree: o.overlap, Auto: o.overlapAuto, GradientPiece: o.piece},
		Balance: o.sharing(),
		Router:  o.buildRouter(),
	}
}

// step runs the n-th training step, counted from 0, and returns what it looked like over all ranks.
func (t *trainer) step(ctx context.Context, n int) (report, error) {
	before := t.world.WireBytes()
	t.traced.lines, t.traced.micro = nil, nil
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	batches := t.data.trainBatches(n)
	sums, err := t.passes(ctx, cancel, batches)
	if err != nil {
		return report{}, err
	}
	if err := t.update(ctx, t.options.rate(n)); err != nil {
		return report{}, err
	}
	t.wire += t.world.WireBytes() - before
	return t.gather(ctx, sums, batches[0].GlobalTokens, t.flight)
}

// beginPasses gives each micro-batch a pass of each layer, in the same order on every rank.
func (t *trainer) beginPasses() error {
	if len(t.flight) == 1 {
		return nil
	}
	for i, of := range t.flight {
		for _, l := range of.layers {
			if err := l.begin(); err != nil {
				return err
			}
			t.traced.isOf(l.pass, i)
		}
	}
	return nil
}

// passes takes micro-batches forward and backward, all at once, and returns the loss of each of the
// rank's leaves. Where one fails it cancels the others.
func (t *trainer) passes(ctx context.Context, cancel context.CancelCauseFunc, batches []gpt.Batch) ([]float64, error) {
	if err := t.beginPasses(); err != nil {
		return nil, err
	}
	t.background.begin(ctx)
	sums, errs := make([][]float64, len(batches)), make([]error, len(batches))
	var wg sync.WaitGroup
	for i, of := range t.flight {
		wg.Go(func() {
			if sums[i], errs[i] = of.model.Forward(ctx, batches[i]); errs[i] == nil {
				errs[i] = of.model.Backward(ctx)
			}
			if errs[i] != nil {
				cancel(errs[i])
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		_ = t.background.end() // ended by the same
		return nil, err
	}
	var all []float64
	for leaf := range len(batches) * len(sums[0]) {
		all = append(all, sums[leaf%len(batches)][leaf/len(batches)])
	}
	return all, nil
}

// update sums the dense gradients over the ranks and lets the optimizer change all parameters.
func (t *trainer) update(ctx context.Context, rate float32) error {
	if err := t.optim.setRate(rate); err != nil {
		return err
	}
	before := t.world.WireBytes()
	defer func() { t.summed += t.world.WireBytes() - before }()
	if err := t.background.rest(ctx); err != nil {
		return err
	}
	if err := t.clip(ctx); err != nil {
		return err
	}
	if err := t.own.Step(ctx, t.optim.Validator); err != nil {
		return err
	}
	for _, layer := range t.layers {
		if err := layer.Step(ctx, t.optim.Validator); err != nil {
			return err
		}
	}
	return nil
}

// clip scales the gradients of all parameters down to the norm of -clip, where theirs is larger.
func (t *trainer) clip(ctx context.Context) error {
	if t.options.clip == 0 {
		return nil
	}
	parts := []switchyard.Trainable{t.own}
	for _, layer := range t.layers {
		parts = append(parts, layer)
	}
	_, err := switchyard.ClipGradients(ctx, t.options.clip, parts...)
	return err
}

// rate is the learning rate of step n: it rises linearly over the warm-up and then falls along 1 -
// 3x² + 2x³, which is within a hundredth of half a cosine and, unlike it, the same on every
// machine, to a tenth of its height.
func (o options) rate(n int) float32 {
	if n < o.warmup {
		return float32(o.lr * float64(n+1) / float64(o.warmup+1))
	}
	const floor = 0.1
	x := float64(n-o.warmup) / float64(max(o.steps-o.warmup, 1))
	fall := float64(x*x) * (3 - float64(2*x))
	return float32(o.lr * (1 - float64((1-floor)*fall)))
}
