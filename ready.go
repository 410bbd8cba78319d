package switchyard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/transport"
)

// What a rank says before a step.
const (
	ableToStep  byte = iota
	cannotStep       // its optimiser says so
	otherTokens      // than Batch.StepTokens announced came
)

// ready asks every rank whether it can take a step, before any gradient is sent or any parameter
// changed: a rank that cannot fails the step on all of them. With another optimiser it can be
// repeated. Optimisers of this module must also have the same settings everywhere, since what
// several ranks hold copies of would differ from then on. Where other tokens came than were
// announced, the gradients of the losses have other weights than they should, and the passes of the
// step are dropped.
func (l *Layer) ready(ctx context.Context, o expert.Optimizer) error {
	mine := make([]byte, 9) // what this rank says, a digest of the settings
	cause := validate(o)
	if cause != nil {
		mine[0] = cannotStep
	} else if cause = l.announcement(); cause != nil {
		mine[0] = otherTokens
	}
	if cause != nil {
		me := l.world.joined(l.world.Rank())
		cause = lifecycle.Agreed(&transport.Error{Rank: me, Op: "Step", Err: cause})
	}
	binary.LittleEndian.PutUint64(mine[1:], digest(o))
	all := make([]byte, len(mine)*l.world.Size())
	if err := l.everyone.AllGather(ctx, all, mine); err != nil {
		return errtext.Errorf("switchyard: Step: %w", err)
	}
	for at := 0; at < len(all); at += len(mine) {
		if all[at] == otherTokens {
			l.dropStep()
			break
		}
	}
	if cause != nil {
		return cause
	}
	return l.refusal(all, mine, o)
}

// refusal is the error of a rank that can take the step about one that cannot, or would take
// another; nil where there is none.
func (l *Layer) refusal(all, mine []byte, o expert.Optimizer) error {
	about := func(r int, err error) error {
		of := l.world.joined(transport.Rank(r))
		return lifecycle.Agreed(&transport.Error{Rank: of, Op: "Step", Err: err})
	}
	for r := range l.world.Size() {
		switch all[r*len(mine)] {
		case cannotStep:
			return about(r, errors.New("its optimiser cannot take the step; its own error says why"))
		case otherTokens:
			return about(r, errors.New(
				"other tokens came than it announced as Batch.StepTokens; its own error says how many"))
		}
	}
	for r := range l.world.Size() {
		if string(all[r*len(mine):][:len(mine)]) != string(mine) {
			return about(r, fmt.Errorf(
				"%w: its optimiser is not the one of this rank, %v", transport.ErrMismatch, o))
		}
	}
	return nil
}

// validate returns why an optimiser cannot take a step.
func validate(o expert.Optimizer) error {
	if check.Nil(o) {
		return errors.New("no optimiser")
	}
	if v, ok := o.(expert.Validator); ok {
		return v.Validate()
	}
	return nil
}

// digest is the same on all ranks where their optimisers have the same settings, as far as those
// are known.
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
