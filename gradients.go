package switchyard

import (
	"cmp"
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/joint"
)

// Trainable is a part of a model with gradients that wait for a step: a [*Layer], or the program's
// own parameters in a [*Dense].
type Trainable interface {
	// GradNorm is the function [GradNorm] of this part alone.
	GradNorm(ctx context.Context) (float64, error)
	// ScaleGradients multiplies the gradients that the next Step would use.
	ScaleGradients(ctx context.Context, factor float32) error
	// DiscardGradients forgets them: a step is left out.
	DiscardGradients() error

	part(op string) (trainedPart, error)
}

// trainedPart is what the functions over several parts of a model use of each.
type trainedPart struct{ joint.Part }

func (l *Layer) part(string) (trainedPart, error) {
	return trainedPart{joint.Part{
		Owner: l.stages.Gradients, Guard: l.guard, World: l.world, Joined: l.world.joined,
		Label: l.label, Noted: true, Complete: func() error { return nil },
	}}, nil
}

// enterParts begins a call over parts.
func enterParts(ctx context.Context, op string, parts []Trainable) (*joint.Call, error) {
	return joint.Enter(ctx, op, len(parts), func(i int) (joint.Part, error) {
		if check.Nil(parts[i]) {
			return joint.Part{}, fmt.Errorf("switchyard: %s: part %d is nil", op, i)
		}
		p, err := parts[i].part(op)
		return p.Part, err
	})
}

// GradNorm returns the L2 norm of the gradients that the next Step of each part would use, all of
// them taken as one vector. It first sums what is not yet summed, and so its place is after the
// last Backward of a step. Every rank calls it, with the same parts, of one world, in the same
// order. A norm that is infinite or not a number, as that of such gradients is, is no error.
//
// It has the same bits on any number of ranks, with any copies of the experts, algorithm and
// transport, as gradients have: squares are added in float64, within an expert in the order of its
// tensors, and over experts by a fixed binary tree.
//
// For each layer a rank of the first copy of the experts sends each other rank 8 bytes for each
// node of that tree whose experts it hosts, all layers in one message: 8 bytes where each rank
// hosts the same power of two of experts, otherwise at most 16 for each bit of the number it hosts.
func GradNorm(ctx context.Context, parts ...Trainable) (float64, error) {
	j, err := enterParts(ctx, "GradNorm", parts)
	if err != nil {
		return 0, err
	}
	defer j.Leave()
	var n gradients.Norm
	err = j.Attempt(func() (err error) {
		n, err = j.Norm(ctx)
		return err
	})
	return n.Value, err
}

// ClipGradients multiplies the gradients of all parts by most/norm if norm, as [GradNorm] returns
// it, is greater than most, and returns norm. The factor is rounded to float32, and is the same on
// every rank, as most must be. It is above 0, and may be infinite, which clips nothing. Otherwise
// it is called, and costs, as GradNorm, and 16 bytes more. (Pascanu et al. 2013, On the difficulty
// of training recurrent neural networks; clip_grad_norm_ of PyTorch, which adds 1e-6 to norm.)
//
// Gradients that are not finite are an error on every rank that names their part
// ([alltoall.ErrNotFinite]), and nothing is changed: a program may then call DiscardGradients of
// each part on every rank, and go on.
func ClipGradients(ctx context.Context, most float64, parts ...Trainable) (norm float64, err error) {
	j, err := enterParts(ctx, "ClipGradients", parts)
	if err != nil {
		return 0, err
	}
	defer j.Leave()
	if !(most > 0) {
		return 0, j.Misuse("the greatest norm is %v, must be above 0", most)
	}
	err = j.Attempt(func() error {
		n, err := j.Norm(ctx, most)
		if err = cmp.Or(err, j.Agree("greatest norm", n.Said), j.AgreeHeld(n.Held), j.NotFinite(n)); err != nil {
			return err
		}
		if norm = n.Value; norm > most {
			j.Scale(float32(most / norm))
		}
		return nil
	})
	return norm, err
}

// GradNorm is the function [GradNorm] of this layer alone.
func (l *Layer) GradNorm(ctx context.Context) (float64, error) { return GradNorm(ctx, l) }

// ScaleGradients multiplies the gradients that the next Step would use by a finite factor, the same
// on every rank: those of all passes since the last Step, auxiliary losses included. Those of
// passes to come are added to the products. Every rank calls it, after at least one Backward.
func (l *Layer) ScaleGradients(ctx context.Context, factor float32) error {
	return scaleGradients(ctx, factor, l)
}

func scaleGradients(ctx context.Context, factor float32, part Trainable) error {
	j, err := enterParts(ctx, "ScaleGradients", []Trainable{part})
	if err != nil {
		return err
	}
	defer j.Leave()
	if factor-factor != 0 {
		return j.Misuse("the factor is %v, must be finite", factor)
	}
	return j.Attempt(func() error {
		n, err := j.NormOf(ctx, nil, float64(factor))
		if err = cmp.Or(err, j.Agree("factor", n.Said)); err != nil {
			return err
		}
		if err = j.Reduce(ctx); err != nil {
			return err
		}
		j.Scale(factor)
		return nil
	})
}

// DiscardGradients forgets the gradients of all passes since the last Step: a step is left out, as
// where [ClipGradients] finds gradients that are not finite. Every rank does so. Parameters, the
// bias by which a gate balances its load, what counts steps and the state of an optimizer stay as
// they are, and the load of these passes moves no bias. Without gradients it does nothing.
func (l *Layer) DiscardGradients() error {
	const op = "DiscardGradients"
	if err := l.guard.EnterAll(context.Background(), op); err != nil {
		return err
	}
	defer l.guard.Leave()
	if err := l.guard.CheckNoneWaits(op); err != nil {
		return err
	}
	if err := l.dropStep(context.Background()); err != nil {
		return l.guard.Attempt(op, func() error { return err }) // the layer has failed
	}
	return nil
}

// dropStep forgets all passes since the last step.
func (l *Layer) dropStep(ctx context.Context) error {
	err := l.stages.Gradients.Discard(ctx)
	l.stages.Routing.DropTally()
	l.guard.StepDone()
	return err
}
