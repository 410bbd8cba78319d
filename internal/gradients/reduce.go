package gradients

import (
	"context"
	"slices"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// Reduce reduces the passes that [Pass.Defer] has left for it, or waits for those that are being
// reduced. Every rank calls it.
func (r *Reducer) Reduce(ctx context.Context) error {
	for len(r.deferred) > 0 {
		d := r.deferred[0]
		r.deferred = slices.Delete(r.deferred, 0, 1)
		if err := r.await(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// reduce sums the gradients of a pass over the ranks, and ends it.
func (r *Reducer) reduce(ctx context.Context, m *memory) error {
	r.takeLeaves(m)
	r.takeNext(m)
	world, leaves := m.comms.World, m.batch.Leaves
	if err := r.reduceGate(ctx, m); err != nil {
		return errtext.Errorf("switchyard: gradients of the gate: %w", err)
	}
	if err := r.reduceExperts(ctx, m); err != nil {
		return errtext.Errorf("switchyard: gradients of the experts: %w", err)
	}
	if err := r.reduceSet(ctx, world, leaves, m, sharedSet); err != nil {
		return errtext.Errorf("switchyard: gradients of the shared expert: %w", err)
	}
	if err := r.reduceSet(ctx, world, leaves, m, gainsSet); err != nil {
		return errtext.Errorf("switchyard: gradients of the gains: %w", err)
	}
	m.reduced = true
	r.end(m)
	return nil
}

// reduceGate is reduce for the gate.
func (r *Reducer) reduceGate(ctx context.Context, m *memory) error {
	if r.keepsLosses(&m.batch) {
		return r.sum(ctx, m, m.comms.World, m.batch.Leaves, m.part(gateSet), m.part(lossesSet))
	}
	return r.reduceSet(ctx, m.comms.World, m.batch.Leaves, m, gateSet)
}

// reduceExperts is reduce for the experts hosted here, whose tokens come from the ranks of one copy
// of the experts.
func (r *Reducer) reduceExperts(ctx context.Context, m *memory) error {
	leaves, each := m.batch.Leaves, r.cfg.ExpertParallel
	perCopy := make([]int, len(leaves)/each)
	for c := range perCopy {
		perCopy[c] = mat.Sum(leaves[c*each : (c+1)*each])
	}
	for i := expertSets; i < len(r.sets); i++ {
		if err := r.reduceSet(ctx, m.comms.Replicas, perCopy, m, i); err != nil {
			return err
		}
	}
	return nil
}

// reduceSet is reduce for one set, which the ranks of comm share; leaves is how many each has.
// Those of a frozen one are forgotten: a gate or an expert from outside may have entered some.
func (r *Reducer) reduceSet(ctx context.Context, comm *collective.Comm, leaves []int, m *memory, set int) error {
	if trained(r.sets[set]) != nil {
		return r.sum(ctx, m, comm, leaves, m.part(set))
	}
	if m.leaves[set] != nil {
		m.leaves[set].Free()
	}
	return nil
}

// sum sums the leaves of parts of a pass over the ranks of comm, or, where sums are rounded, those
// of this rank: the others' follow once a step.
func (r *Reducer) sum(ctx context.Context, m *memory, comm *collective.Comm, leaves []int, parts ...part) error {
	switch {
	case r.codec != nil:
		return takeOwn(comm, leaves, parts...)
	case m.job != nil && comm.Size() > 1:
		return r.cfg.Gaps.reduce(ctx, m.job, comm, leaves, parts...)
	}
	return reduce(ctx, comm, leaves, parts...)
}

// reduce sums the leaves of parts over the ranks of comm, of which rank r holds leaves[r], and
// forgets them.
func reduce(ctx context.Context, comm *collective.Comm, leaves []int, parts ...part) error {
	if comm.Size() == 1 && parts[0].leaves.Holds(0, leaves[0]) {
		for _, p := range parts { // an expert's gradient is large: it is not copied
			*p.next = p.leaves.Take(*p.next)
		}
		return nil
	}
	dst, sums := make([][]float32, len(parts)), make([]*tree.Sum, len(parts))
	for i, p := range parts {
		*p.next = room(*p.next, p.leaves.Len())
		dst[i], sums[i] = *p.next, p.leaves
	}
	if err := comm.AllReduceTree(ctx, leaves, dst, sums...); err != nil {
		return err
	}
	for _, p := range parts {
		p.leaves.Reset()
	}
	return nil
}
