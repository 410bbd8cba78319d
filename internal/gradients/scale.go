package gradients

import (
	"context"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Scale multiplies the gradients of all passes that have been reduced by factor. Those of passes to
// come are added to the products. The gradient of the gate is kept in two parts, of the weights and
// of the losses, each of which is multiplied.
func (r *Reducer) Scale(factor float32) {
	for _, s := range r.sums {
		f32.Scale(s.total, factor)
	}
	f32.Scale(r.losses.mean, factor)
}

// Discard forgets all passes since the last step. What rounding has lost of gradients that are
// summed goes with them. It waits for those that are being summed, on which all ranks are at work.
func (r *Reducer) Discard(ctx context.Context) error {
	for len(r.deferred) > 0 {
		d := r.deferred[0]
		r.deferred = slices.Delete(r.deferred, 0, 1)
		if d.job == nil {
			r.end(d.pass)
		} else if err := d.job.Wait(ctx); err != nil {
			return err
		}
	}
	for i, lost := range r.own.lost {
		if r.sums[i].passes > 0 || i == lossesSet && r.losses.tokens > 0 {
			clear(lost)
		}
	}
	r.restart()
	return nil
}
