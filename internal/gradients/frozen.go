package gradients

import (
	"context"
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport"
)

// SetFrozen freezes the sets of the given kinds, and thaws the others. It is called where there are
// no gradients. It is an error on every rank, which changes nothing, if a rank gives other kinds.
// [param.Bias] among them is for Frozen to tell.
//
// Direct: one byte to each other rank.
func (r *Reducer) SetFrozen(ctx context.Context, kinds []param.Kind) error {
	all := make([]byte, r.cfg.World.Size())
	if err := r.cfg.World.AllGather(ctx, all, []byte{maskOf(kinds)}); err != nil {
		return errtext.Errorf("switchyard: SetFrozen: %w", err)
	}
	for rank, mask := range all {
		if mask != all[0] {
			return lifecycle.Agreed(&transport.Error{
				Rank: r.cfg.Joined(transport.Rank(rank)), Op: "SetFrozen",
				Err: fmt.Errorf("%w: its kinds are %v, those of rank %d %v",
					transport.ErrMismatch, kindsOf(mask), r.cfg.Joined(0), kindsOf(all[0])),
			})
		}
	}
	r.freeze(kinds)
	return nil
}

// Frozen tells whether a kind of parameters is frozen.
func (r *Reducer) Frozen(kind param.Kind) bool { return slices.Contains(r.frozen, kind) }

// maskOf has a bit for each of the kinds, and kindsOf lists them.
func maskOf(kinds []param.Kind) (mask byte) {
	for _, k := range kinds {
		mask |= 1 << k
	}
	return mask
}

func kindsOf(mask byte) []param.Kind {
	list := []param.Kind{}
	for k := range param.Kind(8) {
		if mask>>k&1 == 1 {
			list = append(list, k)
		}
	}
	return list
}

// freeze freezes the kinds, and thaws the others. Memory for gradients of what is frozen goes.
func (r *Reducer) freeze(kinds []param.Kind) {
	r.frozen = slices.Clone(kinds)
	for i, set := range r.sets {
		if set == nil {
			continue
		}
		if set.Frozen = r.Frozen(kindOf(i)); set.Frozen {
			set.Grad.Free()
			r.sums[i] = sum{}
			r.spare.free(i)
			r.own.free(i)
		}
	}
	if r.Frozen(param.Gate) {
		r.losses.mean = nil
	}
	r.losses.both = nil
}

// kindOf is the kind of a set of a reducer.
func kindOf(set int) param.Kind {
	return [...]param.Kind{param.Gate, param.Gate, param.Shared, param.Gain, param.Expert}[min(set, expertSets)]
}

// trained returns set, or nil if it is frozen.
func trained(set *param.Set) *param.Set {
	if set == nil || set.Frozen {
		return nil
	}
	return set
}
