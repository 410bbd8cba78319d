package switchyard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/given"
	"github.com/switchyard-moe/switchyard/transport"
)

// ready asks every rank whether its optimiser can take a step, before any gradient is sent or any parameter changed: a rank
// that cannot fails the step on all of them, and the step can be repeated with another one. Optimisers of this module must
// also have the same settings everywhere, since what several ranks hold copies of would differ from then on.
func (l *Layer) ready(ctx context.Context, o expert.Optimizer) error {
	cause := validate(o)
	if cause != nil {
		cause = &transport.Error{Rank: l.world.joined(l.world.Rank()), Op: "Step", Err: cause}
	}
	if l.world.Size() == 1 {
		return asAgreed(cause)
	}
	mine := make([]byte, 12) // 1 if it cannot, a digest of the settings
	if cause != nil {
		mine[0] = 1
	}
	binary.LittleEndian.PutUint64(mine[4:], digest(o))
	all := make([]byte, len(mine)*l.world.Size())
	if err := l.everyone.AllGather(ctx, all, mine); err != nil {
		return fmt.Errorf("switchyard: Step: %w", err)
	}
	if cause != nil {
		return asAgreed(cause)
	}
	for r := range l.world.Size() {
		theirs := all[r*len(mine):][:len(mine)]
		if theirs[0] != 0 {
			return asAgreed(&transport.Error{Rank: l.world.joined(transport.Rank(r)), Op: "Step", Err: errors.New("its optimiser cannot take the step; its own error says why")})
		}
	}
	for r := range l.world.Size() {
		if string(all[r*len(mine):][:len(mine)]) != string(mine) {
			return asAgreed(&transport.Error{Rank: l.world.joined(transport.Rank(r)), Op: "Step",
				Err: fmt.Errorf("%w: its optimiser is not the one of this rank, %v", transport.ErrMismatch, o)})
		}
	}
	return nil
}

// validate returns why an optimiser cannot take a step.
func validate(o expert.Optimizer) error {
	if given.Nil(o) {
		return errors.New("no optimiser")
	}
	if v, ok := o.(expert.Validator); ok {
		return v.Validate()
	}
	return nil
}

// digest is the same on all ranks where their optimisers have the same settings, as far as those are known.
func digest(o expert.Optimizer) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%T", o)
	switch o := o.(type) {
	case *expert.Adam:
		fmt.Fprint(h, o)
	case *expert.SGD:
		fmt.Fprint(h, o)
	}
	return h.Sum64()
}
