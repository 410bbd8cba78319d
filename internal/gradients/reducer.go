// Package gradients sums the gradients of a layer's parameters: over the tokens of all ranks that
// share the parameters, over the backward passes of a step, and over the micro-batch layers. Then
// it gives the sums to the optimizer.
//
// The gate, the shared expert and the gains of compression are held by every rank; an expert by one
// rank of each copy of the experts. Gradients of a pass are summed over a fixed tree of groups of
// tokens, and so have the same bits on any number of ranks.
package gradients

import (
	"context"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// Config describes the parameters of one layer on one rank, and who shares them.
type Config struct {
	// Sets are the parameters, and Gate is the gate.
	Sets parameters.Sets
	Gate router.Gate
	// World connects all ranks, and Replicas the ranks that host the same experts.
	World, Replicas *collective.Comm
	// ExpertParallel is the number of consecutive ranks that share one copy of the experts, and
	// Placement says which experts each of them hosts.
	ExpertParallel int
	Placement      alltoall.Placement
	// MicroBatches is the number of backward passes of equal size that a step is taken to have, at
	// least 1.
	MicroBatches int
	// Joined is the number by which errors name a rank of World.
	Joined func(transport.Rank) transport.Rank
}

// Pass describes a backward pass whose gradients have been entered into the sets.
type Pass struct {
	// Tokens and Leaves are the numbers of tokens, padding left out, and of groups of tokens that
	// each rank of the world brought.
	Tokens, Leaves []int
	// StepTokens is the caller's [router.Batch].StepTokens.
	StepTokens int
	// Counts are the tokens of all ranks that chose each expert, if a loss asks for them.
	Counts []int
}

// Reducer sums the gradients of one layer on one rank. Every rank calls its methods in the same
// order. What a micro-batch layer of the layer sums is part of the same step: see Add.
type Reducer struct {
	cfg     Config
	micro   []*Reducer // of the micro-batch layers
	frozen  []param.Kind
	last    Pass // that has gone back
	pending bool // its gradients are not yet summed over ranks
	passes  int  // whose gradients are in the sums

	gate, shared, gains sum
	experts             []sum // of each group of experts
	losses              losses
}

// New returns a reducer without gradients.
func New(cfg Config) *Reducer {
	r := &Reducer{cfg: cfg, experts: make([]sum, len(cfg.Sets.Experts))}
	if g, ok := cfg.Gate.(router.LossSplitter); ok {
		r.losses.set = g.LossParams()
	}
	return r
}

// Add makes the passes of a micro-batch layer part of r's steps. Their gradients count after those
// of r, in the order of the calls of Add. The gate of the micro-batch layer gets r's parameters.
func (r *Reducer) Add(micro *Reducer) {
	r.micro = append(r.micro, micro)
	micro.freeze(r.frozen)
	parameters.CopyGate(micro.cfg.Gate, r.cfg.Gate)
}

// all are r and the reducers of the micro-batch layers.
func (r *Reducer) all() []*Reducer { return append([]*Reducer{r}, r.micro...) }

// Losses is the set that takes the gradient of the auxiliary losses with respect to the gate's
// parameters in a pass of a step of stepTokens tokens, 0 if the number is not known. It is nil if
// that gradient goes where the gradient of the weights goes.
func (r *Reducer) Losses(stepTokens int) *param.Set {
	if stepTokens > 0 { // the scale of the losses is final
		return nil
	}
	return r.losses.set
}

// Append notes that a backward pass has entered its gradients. They wait for Reduce.
func (r *Reducer) Append(p Pass) {
	r.last, r.pending = p, true
	r.losses.count(p)
}

// Drop forgets what a pass that failed has entered of the gradients of experts and of gains.
func (r *Reducer) Drop() {
	reset(r.cfg.Sets.Experts...)
	reset(r.cfg.Sets.Shared, r.cfg.Sets.Gains)
}

// reset forgets all leaves of the sets that there are.
func reset(sets ...*param.Set) {
	for _, set := range sets {
		if set != nil {
			set.Grad.Reset()
		}
	}
}

// forget forgets all leaves of frozen sets, and their memory: a gate or an expert from outside may
// have entered some.
func forget(sets ...*param.Set) {
	for _, set := range sets {
		if set != nil {
			set.Grad.Free()
		}
	}
}

// Reduce sums the gradients of the pass that waits, if there is one, over the ranks, and adds them
// to those of the passes before.
func (r *Reducer) Reduce(ctx context.Context) error {
	if !r.pending {
		return nil
	}
	p := &r.last
	r.pending = false
	if err := r.reduceGate(ctx, p); err != nil {
		return errtext.Errorf("switchyard: gradients of the gate: %w", err)
	}
	if err := r.reduceExperts(ctx, p); err != nil {
		return errtext.Errorf("switchyard: gradients of the experts: %w", err)
	}
	if err := r.reduceSet(ctx, r.cfg.World, p.Leaves, r.cfg.Sets.Shared, &r.shared); err != nil {
		return errtext.Errorf("switchyard: gradients of the shared expert: %w", err)
	}
	if err := r.reduceSet(ctx, r.cfg.World, p.Leaves, r.cfg.Sets.Gains, &r.gains); err != nil {
		return errtext.Errorf("switchyard: gradients of the gains: %w", err)
	}
	r.passes++
	return nil
}

// reduceExperts is Reduce for the experts hosted here, whose tokens come from the ranks of one copy
// of the experts.
func (r *Reducer) reduceExperts(ctx context.Context, p *Pass) error {
	perCopy := make([]int, len(p.Leaves)/r.cfg.ExpertParallel)
	for rank, n := range p.Leaves {
		perCopy[rank/r.cfg.ExpertParallel] += n
	}
	for i, set := range r.cfg.Sets.Experts {
		if err := r.reduceSet(ctx, r.cfg.Replicas, perCopy, set, &r.experts[i]); err != nil {
			return err
		}
	}
	return nil
}

// reduceSet is Reduce for one set, which the ranks of comm share; leaves is how many each has.
func (r *Reducer) reduceSet(
	ctx context.Context, comm *collective.Comm, leaves []int, set *param.Set, to *sum,
) error {
	if trained(set) == nil {
		forget(set)
		return nil
	}
	if err := reduce(ctx, comm, leaves, []*param.Set{set}, []*sum{to}); err != nil {
		return err
	}
	to.add(r.passes == 0)
	return nil
}

// ReduceAll is Reduce for r and the micro-batch layers, whose gradients are then r's.
func (r *Reducer) ReduceAll(ctx context.Context) error {
	if err := r.Reduce(ctx); err != nil {
		return err
	}
	for _, micro := range r.micro {
		if err := micro.Reduce(ctx); err != nil {
			return err
		}
		r.take(micro)
	}
	return nil
}

// take moves the gradients of a micro-batch layer to r.
func (r *Reducer) take(micro *Reducer) {
	if micro.passes == 0 {
		return
	}
	theirs := micro.sums()
	for i, s := range r.sums() {
		if r.passes == 0 {
			s.total, theirs[i].total = theirs[i].total, s.total
			continue
		}
		f32.Add(s.total, theirs[i].total)
	}
	r.losses.take(&micro.losses)
	r.passes += micro.passes
	micro.passes = 0
}

// sums lists all sums, in the same order for micro-batch layers.
func (r *Reducer) sums() []*sum {
	list := []*sum{&r.gate, &r.shared, &r.gains}
	for i := range r.experts {
		list = append(list, &r.experts[i])
	}
	return list
}
