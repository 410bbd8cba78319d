// Package gradients sums the gradients of a layer's parameters: over the tokens of all ranks that
// share the parameters, and over the passes of a step, in the order of their numbers. Then it gives
// the sums to the optimizer.
//
// The gate, the shared expert and the gains of compression are held by every rank; an expert by one
// rank of each copy of the experts. Gradients of a pass are summed over a fixed tree of groups of
// tokens, and so have the same bits on any number of ranks.
package gradients

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/mat"
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
	// Order says which expert stands at which position of the placement.
	Order layout.Order
	// MicroBatches is the number of backward passes of equal size that a step is taken to have, at
	// least 1.
	MicroBatches int
	// Sums is the codec of sums over ranks, nil for exact ones.
	Sums alltoall.Codec
	// Gaps has the sums of plain passes run beside what follows them; its zero value leaves them
	// for the next Reduce.
	Gaps Gaps
	// Turn has passes compute in turn.
	Turn *lifecycle.Turn
	// Joined is the number by which errors name a rank of World.
	Joined func(transport.Rank) transport.Rank
}

// Reducer sums the gradients of one layer on one rank. Any number of its passes may be under way at
// the same time, on any goroutines; Begin is called in the order of their numbers. All else is
// called while none is, in the same order on every rank.
type Reducer struct {
	cfg      Config
	sets     []*param.Set // nil for none
	frozen   []param.Kind
	deferred []deferred       // passes for Reduce
	codec    collective.Codec // of sums, nil for exact ones

	mu      sync.Mutex
	flight  []*memory // of the passes that are under way, or wait for those of lower numbers
	spare   spare
	earlier []sumOfChoices

	adding sync.Mutex // held while the gradients of a pass are added to the sums:
	sums   []sum      // of each set; that of the losses is not used
	losses losses
	own    own
}

// The sets of a reducer, in order: those of the groups of experts come last.
const (
	gateSet = iota
	lossesSet
	sharedSet
	gainsSet
	expertSets
)

// New returns a reducer without gradients.
func New(cfg Config) *Reducer {
	r := &Reducer{cfg: cfg}
	var losses *param.Set
	if g, ok := cfg.Gate.(router.LossSplitter); ok {
		losses = g.LossParams()
	}
	r.sets = append([]*param.Set{cfg.Sets.Gate, losses, cfg.Sets.Shared, cfg.Sets.Gains}, cfg.Sets.Experts...)
	r.sums = make([]sum, len(r.sets))
	if r.codec = quantizer(cfg.Sums); r.codec != nil {
		r.own.sums, r.own.lost = make([]sum, len(r.sets)), make([][]float32, len(r.sets))
	}
	return r
}

// Losses is the set that takes the gradient of the auxiliary losses with respect to the gate's
// parameters in a pass of a step of stepTokens tokens, 0 if the number is not known. It is nil if
// that gradient goes where the gradient of the weights goes.
func (r *Reducer) Losses(stepTokens int) *param.Set {
	if stepTokens > 0 { // the scale of the losses is final
		return nil
	}
	return r.sets[lossesSet]
}

// Begin begins a pass, whose number is greater than those of the passes begun before. Nothing is
// sent. comms are of this pass; if they are nil passes come one after another on those of the
// layer.
func (r *Reducer) Begin(number uint64, comms Comms) Pass {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := take(&r.spare.memory)
	if !ok {
		m = new(memory)
	}
	m.number, m.batch, m.job, m.reduced, m.ended = number, Batch{}, nil, false, false
	m.choices, m.before = choices{}, r.lastKnown(number)
	m.comms = Comms{cmp.Or(comms.World, r.cfg.World), cmp.Or(comms.Replicas, r.cfg.Replicas)}
	r.flight = append(r.flight, m)
	return Pass{r: r, m: m}
}

// wentBack notes that a pass has gone back.
func (r *Reducer) wentBack(m *memory, b Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.batch = b
	r.losses.count(b)
	r.chose(m, b.Counts, mat.Sum(b.Tokens))
}

// end ends a pass, and adds the gradients of all that have waited for it.
func (r *Reducer) end(m *memory) {
	r.giveLeaves(m)
	if r.leave(m) {
		r.give(m)
	}
	r.adding.Lock()
	defer r.adding.Unlock()
	for m := r.nextEnded(); m != nil; m = r.nextEnded() {
		if m.reduced {
			r.add(m)
		}
		r.give(m)
	}
}

// leave notes that a pass has ended, and reports whether nothing of it need wait for passes of
// lower numbers, which may be under way for long: then it is no more among those that are.
func (r *Reducer) leave(m *memory) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.ended = true
	r.chose(m, nil, 0)
	if m.reduced || len(m.of) > 0 && !m.listed {
		return false
	}
	r.flight = slices.DeleteFunc(r.flight, func(other *memory) bool { return other == m })
	return true
}

// nextEnded takes the pass of the lowest number from those under way, nil if it has not ended.
func (r *Reducer) nextEnded() *memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.flight) == 0 || !r.flight[0].ended {
		return nil
	}
	m := r.flight[0]
	r.flight = slices.Delete(r.flight, 0, 1)
	return m
}

// add adds the gradients of a pass.
func (r *Reducer) add(m *memory) {
	for i, set := range r.sets {
		if i == lossesSet || trained(set) == nil {
			continue
		}
		to := &r.sums[i]
		if r.rounds(i) {
			to = &r.own.sums[i]
		}
		to.add(&m.next[i], 1)
	}
	if b := &m.batch; r.keepsLosses(b) {
		to := &r.losses.lossesMean
		if r.rounds(lossesSet) {
			to = &r.own.losses
		}
		// The pass scaled its losses as one of MicroBatches passes.
		to.average(m.next[lossesSet], mat.Sum(b.Tokens), float64(r.cfg.MicroBatches))
	}
}

// keepsLosses reports whether the losses' part of the gate's gradient is kept apart in a pass.
func (r *Reducer) keepsLosses(b *Batch) bool {
	return r.Losses(b.StepTokens) != nil && trained(r.sets[gateSet]) != nil
}

// ReduceAll is Reduce of the last passes of a step. It is an error if a pass is under way.
func (r *Reducer) ReduceAll(ctx context.Context) error {
	if err := r.Reduce(ctx); err != nil {
		return err
	}
	if err := r.checkNoneIsUnderWay(); err != nil {
		return err
	}
	return r.reduceOwn(ctx)
}

// checkNoneIsUnderWay returns an error if a pass is, whose gradients would be missing.
func (r *Reducer) checkNoneIsUnderWay() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.flight) == 0 {
		return nil
	}
	return fmt.Errorf("switchyard: pass %d is under way", r.flight[0].number)
}
