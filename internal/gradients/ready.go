package gradients

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

// Ready asks every rank whether it can take a step, before any gradient is sent or any parameter
// changed: a rank that cannot fails the step on all of them ([lifecycle.Agreed]). It can be
// repeated with another optimiser. Optimisers of this module must also have the same settings on
// every rank, since parameters that several ranks hold would differ from then on.
//
// If other tokens came than were announced, the gradients of the losses have other weights than
// they should. Then the passes of the step are dropped on every rank, and dropped is true.
func (r *Reducer) Ready(ctx context.Context, o expert.Optimizer) (dropped bool, err error) {
	status, fault := r.status(o)
	mine := binary.LittleEndian.AppendUint64([]byte{status}, digest(o))
	all := make([]byte, len(mine)*r.cfg.World.Size())
	if err := r.cfg.World.AllGather(ctx, all, mine); err != nil {
		return false, errtext.Errorf("switchyard: Step: %w", err)
	}
	for at := 0; at < len(all); at += len(mine) {
		dropped = dropped || all[at] == otherTokens
	}
	if dropped {
		r.Discard()
	}
	if fault != nil {
		return dropped, r.refused(r.cfg.World.Rank(), fault)
	}
	return dropped, r.refusal(all, mine, o)
}

// status is what this rank says before a step, and why it cannot take it.
func (r *Reducer) status(o expert.Optimizer) (byte, error) {
	if err := validate(o); err != nil {
		return cannotStep, err
	}
	if err := r.checkStepTokens(); err != nil {
		return otherTokens, err
	}
	return ableToStep, nil
}

// refused is the error that all ranks agree on because of one rank's fault.
func (r *Reducer) refused(by transport.Rank, fault error) error {
	return lifecycle.Agreed(&transport.Error{Rank: r.cfg.Joined(by), Op: "Step", Err: fault})
}

// refusal is the error of a rank that can take the step about one that cannot, or would take
// another; nil if there is none.
func (r *Reducer) refusal(all, mine []byte, o expert.Optimizer) error {
	size := transport.Rank(r.cfg.World.Size())
	for rank := range size {
		switch all[int(rank)*len(mine)] {
		case cannotStep:
			return r.refused(rank, errors.New("its optimiser cannot take the step; its own error says why"))
		case otherTokens:
			return r.refused(rank, errors.New(
				"other tokens came than it announced as Batch.StepTokens; its own error says how many"))
		}
	}
	for rank := range size {
		if string(all[int(rank)*len(mine):][:len(mine)]) != string(mine) {
			return r.refused(rank, fmt.Errorf(
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

// digest is the same on all ranks if their optimisers have the same settings, as far as those are
// known.
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
