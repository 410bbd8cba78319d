package gradients

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/transport"
)

// What a rank says before a step.
const (
	ableToStep  byte = iota
	cannotStep       // its optimizer says so
	otherTokens      // than Batch.StepTokens announced came
)

// ofOptimizer is how many bytes of what a rank says before a step are its status and the digest of
// its optimizer.
const ofOptimizer = 1 + 8

// Ready asks every rank whether it can take a step, before any gradient is sent or any parameter
// changed: a rank that cannot fails the step on all of them ([lifecycle.Agreed]). It can be
// repeated with another optimizer. Optimizers of this module must also have the same settings on
// every rank, since parameters that several ranks hold would differ from then on.
//
// If other tokens came than were announced, the gradients of the losses have other weights than
// they should. Then the passes of the step are dropped on every rank, and dropped is true.
func (r *Reducer) Ready(ctx context.Context, o expert.Optimizer) (dropped bool, err error) {
	dropped, err = r.cfg.ranks().ready(ctx, o, r.checkStepTokens())
	if dropped {
		err = cmp.Or(r.Discard(ctx), err)
	}
	return dropped, err
}

// ranks are those that take a step together.
type ranks struct {
	comm   *collective.Comm
	joined func(transport.Rank) transport.Rank
}

func (c *Config) ranks() ranks { return ranks{c.World, c.Joined} }

// ready returns an error, on every rank, unless all can take a step with the same optimizer, and
// have summed the same. tokens is why other tokens than announced came on this rank, and dropped
// tells that they did on one.
func (of ranks) ready(ctx context.Context, o expert.Optimizer, tokens error, summed ...uint64) (dropped bool, err error) {
	status, fault := statusOf(o, tokens)
	mine := binary.LittleEndian.AppendUint64([]byte{status}, digest(o))
	for _, s := range summed {
		mine = binary.LittleEndian.AppendUint64(mine, s)
	}
	all := make([]byte, len(mine)*of.comm.Size())
	if err := of.comm.AllGather(ctx, all, mine); err != nil {
		return false, errtext.Errorf("switchyard: Step: %w", err)
	}
	for at := 0; at < len(all); at += len(mine) {
		dropped = dropped || all[at] == otherTokens
	}
	if fault != nil {
		return dropped, of.refused(of.comm.Rank(), fault)
	}
	return dropped, of.refusal(all, mine, o)
}

// statusOf is what this rank says before a step, and why it cannot take it.
func statusOf(o expert.Optimizer, tokens error) (byte, error) {
	if err := validate(o); err != nil {
		return cannotStep, err
	}
	if tokens != nil {
		return otherTokens, tokens
	}
	return ableToStep, nil
}

// refused is the error that all ranks agree on because of one rank's fault.
func (of ranks) refused(by transport.Rank, fault error) error {
	return lifecycle.Agreed(&transport.Error{Rank: of.joined(by), Op: "Step", Err: fault})
}

// refusal is the error of a rank that can take the step about one that cannot, or would take
// another; nil if there is none.
func (of ranks) refusal(all, mine []byte, o expert.Optimizer) error {
	size := transport.Rank(of.comm.Size())
	for rank := range size {
		switch all[int(rank)*len(mine)] {
		case cannotStep:
			return of.refused(rank, errors.New("its optimizer cannot take the step; its own error says why"))
		case otherTokens:
			return of.refused(rank, errors.New(
				"other tokens came than it announced as Batch.StepTokens; its own error says how many"))
		}
	}
	for rank := range size {
		theirs := all[int(rank)*len(mine):][:len(mine)]
		if string(theirs[:ofOptimizer]) != string(mine[:ofOptimizer]) {
			return of.refused(rank, fmt.Errorf(
				"%w: its optimizer is not the one of this rank, %v", transport.ErrMismatch, o))
		}
		if string(theirs) != string(mine) {
			return of.refused(rank, fmt.Errorf(
				"%w: it has summed or frozen other sets than this rank, or in another order; call DiscardGradients on every rank",
				transport.ErrMismatch))
		}
	}
	return nil
}

// validate returns why an optimizer cannot take a step.
func validate(o expert.Optimizer) error {
	if check.Nil(o) {
		return errors.New("no optimizer")
	}
	if v, ok := o.(expert.Validator); ok {
		return v.Validate()
	}
	return nil
}

// digest is the same on all ranks if their optimizers have the same settings, as far as those are
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
