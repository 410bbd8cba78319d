package switchyard

import (
	"context"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/joint"
)

func (d *Dense) part(op string) (trainedPart, error) {
	if err := d.made(op); err != nil {
		return trainedPart{}, err
	}
	return trainedPart{joint.Part{
		Owner: d.gradients, Guard: d.guard, World: d.world, Joined: d.world.joined,
		Label: "the dense parameters", Complete: d.gradients.CheckSummed,
	}}, nil
}

// SumGradients sums the gradients of the named sets, or of all, over the ranks, and adds them to
// those of the passes before since the last Step. The program has entered the gradient of token
// group i of the global batch into leaf i of each set's Grad ([param.Set]), as a layer does: rank r
// holds leaves[r] of them, none perhaps, which follow those of rank r-1. Every rank calls it, with
// the same leaves and names in the same order. Sets may be summed one by one while others are not
// complete, in the gaps of a layer's links, say ([Overlap].Background); before Step each has been
// summed as often as the others. The leaves are forgotten. A set that is frozen is left out.
//
// Unless [Dense.SetSums] has set a codec the sum has the same bits on any number of ranks, however
// leaves are spread over them: they are added over a binary tree that depends on their numbers
// alone ([collective.Comm.AllReduceTree], which says what travels). So the promise of a layer
// covers a whole model, if the gradient of each leaf depends on its token group alone. It goes
// through [World.Comm].
func (d *Dense) SumGradients(ctx context.Context, leaves []int, names ...string) error {
	const op = "SumGradients"
	return d.within(ctx, op, func() error {
		sets, err := d.gradients.Select(names)
		if err == nil {
			err = d.gradients.CheckLeaves(leaves, sets)
		}
		if err != nil {
			return d.guard.Misuse(op, "%w", err)
		}
		if err := d.guard.Attempt(op, func() error { return d.gradients.Sum(ctx, leaves, sets) }); err != nil {
			return err
		}
		d.guard.BackwardDone()
		return nil
	})
}

// SetSums has SumGradients sum in the numbers of a codec from now on, as [Config].Sums says; nil is
// for exact sums. Every rank calls it, with the same codec, between two steps. What is lost by then
// is forgotten: so it stands before a load of State.
func (d *Dense) SetSums(codec alltoall.Codec) error {
	return d.atBoundary("SetSums", func() error { return d.gradients.SetSums(codec) })
}

// GradNorm is the function [GradNorm] of these parameters alone. Nothing travels: every rank has
// all their gradients.
func (d *Dense) GradNorm(ctx context.Context) (float64, error) { return GradNorm(ctx, d) }

// ScaleGradients multiplies the gradients that have been summed since the last Step by a finite
// factor, the same on every rank, which calls it. Those of later sums are added to the products.
func (d *Dense) ScaleGradients(ctx context.Context, factor float32) error {
	return scaleGradients(ctx, factor, d)
}

// DiscardGradients forgets all gradients since the last Step, and leaves that have not been summed:
// a step is left out. Every rank does so.
func (d *Dense) DiscardGradients() error {
	return d.within(context.Background(), "DiscardGradients", func() error {
		d.gradients.Discard()
		d.guard.StepDone()
		return nil
	})
}

// Step gives the gradients that have been summed to the optimizer, set after set, but for frozen
// ones, and forgets them. Every rank calls it, with an optimizer of the same settings: otherwise,
// or if one cannot take the step ([expert.Validator]), all get an error, the gradients stay, and
// Step can be repeated. It is also an error on every rank if one has summed or frozen other sets
// than another, or in another order; then DiscardGradients is what helps.
func (d *Dense) Step(ctx context.Context, optimizer expert.Optimizer) error {
	const op = "Step"
	return d.within(ctx, op, func() error {
		err := d.guard.CheckStep(op)
		if err != nil {
			return err
		}
		if err := d.gradients.CheckSummed(); err != nil {
			return d.guard.Misuse(op, "%w", err)
		}
		if err := d.guard.Attempt(op, func() error { return d.gradients.Step(ctx, optimizer) }); err != nil {
			return err
		}
		d.guard.StepDone()
		return nil
	})
}

// within runs do as a method of d.
func (d *Dense) within(ctx context.Context, op string, do func() error) error {
	if err := d.made(op); err != nil {
		return err
	}
	if err := d.guard.EnterAll(ctx, op); err != nil {
		return err
	}
	defer d.guard.Leave()
	return do()
}
