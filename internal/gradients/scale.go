package gradients

import "github.com/switchyard-moe/switchyard/internal/f32"

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
// summed goes with them.
func (r *Reducer) Discard() {
	for _, m := range r.deferred {
		r.end(m)
	}
	r.deferred = r.deferred[:0]
	for i, lost := range r.own.lost {
		if r.sums[i].passes > 0 || i == lossesSet && r.losses.tokens > 0 {
			clear(lost)
		}
	}
	r.restart()
}
