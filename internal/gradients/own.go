package gradients

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/parameters"
)

// own is what a layer's passes have left for the rounded sums over the ranks.
type own struct {
	sums   []sum      // of each set, over this rank's tokens; that of the losses is not used
	losses lossesMean // this rank's part of it
	lost   [][]float32
}

// free forgets the gradients of a set, and the memory for them.
func (o *own) free(set int) {
	if o.sums == nil {
		return
	}
	o.sums[set], o.lost[set] = sum{}, nil
	if set == lossesSet {
		o.losses = lossesMean{}
	}
}

// restart forgets the passes.
func (o *own) restart() {
	for i := range o.sums {
		o.sums[i].passes = 0
	}
	o.losses.tokens = 0
}

// rounds tells whether the gradient of a set is summed over ranks in few bits.
func (r *Reducer) rounds(set int) bool { return r.codec != nil && r.sharing(set).Size() > 1 }

// sharing connects the ranks that share a set.
func (r *Reducer) sharing(set int) *collective.Comm {
	if set >= expertSets {
		return r.cfg.Replicas
	}
	return r.cfg.World
}

// reduceOwn sums over the ranks what passes have left, if there is anything.
func (r *Reducer) reduceOwn(ctx context.Context) error {
	if r.codec == nil {
		return nil
	}
	if err := quantize(ctx, r.cfg.World, r.codec, r.ownOfWorld()); err != nil {
		return errtext.Errorf("switchyard: gradients of the gate and the shared expert: %w", err)
	}
	for i := expertSets; i < len(r.sets); i++ {
		if err := quantize(ctx, r.cfg.Replicas, r.codec, r.ownOf(i)); err != nil {
			return errtext.Errorf("switchyard: gradients of the experts: %w", err)
		}
	}
	for i := range r.own.sums {
		if s := &r.own.sums[i]; s.passes > 0 {
			r.sums[i].add(&s.total, s.passes)
		}
	}
	if l := &r.own.losses; l.tokens > 0 {
		r.losses.average(l.mean, l.tokens, 1)
	}
	r.own.restart()
	return nil
}

// List lists what rounding has lost on this rank, if the list is one to go on training with.
// Experts are named by their numbers.
func (r *Reducer) List(l *parameters.Lister) {
	if r.codec == nil || !l.Trains() {
		return
	}
	for i, name := range [expertSets]string{"gate", "losses", "shared", "compression"} {
		if r.rounds(i) {
			listLost(l, lostPrefix+name, r.sets[i], &r.own.lost[i])
		}
	}
	first, _ := r.cfg.Placement.Of(int(r.cfg.World.Rank()) % r.cfg.ExpertParallel)
	for i := expertSets; i < len(r.sets); i++ {
		if set := r.sets[i]; r.rounds(i) && set != nil && len(set.Tensors()) > 0 {
			count := set.Tensors()[0].Shape[0]
			listLost(l, fmt.Sprintf("%sexperts.%d-%d", lostPrefix, first, first+count-1), set, &r.own.lost[i])
			first += count
		}
	}
}

// ownOf is what passes have left of a set, none or one vector.
func (r *Reducer) ownOf(set int) []rounded {
	if s := &r.own.sums[set]; s.passes > 0 {
		return []rounded{{s.total, &r.own.lost[set]}}
	}
	return nil
}

// ownOfWorld is what passes have left of all sets that every rank holds.
func (r *Reducer) ownOfWorld() (list []rounded) {
	for set := range expertSets {
		list = append(list, r.ownOf(set)...)
	}
	if l := &r.own.losses; l.tokens > 0 {
		list = append(list, rounded{l.mean, &r.own.lost[lossesSet]})
	}
	return list
}
