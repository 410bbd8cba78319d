package gradients

import (
	"context"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/param"
)

// Sums returns the gradients of all passes that have been reduced since the last step; those of
// frozen sets are nil. The vectors are r's own and valid until its next call.
func (r *Reducer) Sums() parameters.Vectors {
	v := parameters.Vectors{Gate: r.gateGradient(), Shared: r.sums[sharedSet].total, Gains: r.sums[gainsSet].total}
	for _, s := range r.sums[expertSets:] {
		v.Experts = append(v.Experts, s.total)
	}
	return v
}

// Step sums what is not yet summed, gives the sums to the optimizer, and forgets them, once Ready
// has returned no error.
func (r *Reducer) Step(ctx context.Context, optimizer expert.Optimizer) error {
	if err := r.ReduceAll(ctx); err != nil {
		return err
	}
	r.update(optimizer)
	r.restart()
	return nil
}

// update gives all gradients to the optimizer, but for those of frozen sets.
func (r *Reducer) update(optimizer expert.Optimizer) {
	sets := r.cfg.Sets
	update := func(set *param.Set, sum []float32) {
		if trained(set) != nil {
			optimizer.Update(set, sum)
		}
	}
	update(sets.Gate, r.gateGradient())
	for i, set := range sets.Experts {
		update(set, r.sums[expertSets+i].total)
	}
	update(sets.Shared, r.sums[sharedSet].total)
	update(sets.Gains, r.sums[gainsSet].total)
}
