// Package joint is what the functions over several parts of a model have in common: they treat the
// gradients of all of them as one vector (norm, clipping, scaling).
package joint

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/transport"
)

// Part is what a call uses of one part of a model.
type Part struct {
	gradients.Owner
	Guard *lifecycle.Guard
	// World is what all parts of a call must have the same of.
	World any
	// Joined is the number by which errors name a rank of it, and Label what they call the part.
	Joined func(transport.Rank) transport.Rank
	Label  string
	// Noted says that the guard notes operations, and the owner's communicator does not.
	Noted bool
	// Complete returns an error if some of the gradients of the step are not there.
	Complete func() error
}

// Call is a call over the parts of a model whose gradients it treats as one vector.
type Call struct {
	op    string
	parts []Part
}

// Enter begins a call over parts, each of which must have gradients; of gives the part with a
// number. Without an error the caller must call Leave.
func Enter(ctx context.Context, op string, parts int, of func(i int) (Part, error)) (*Call, error) {
	j := &Call{op: op}
	for i := range parts {
		p, err := of(i)
		if err == nil {
			err = p.Guard.EnterAll(ctx, op)
		}
		if err != nil {
			j.Leave()
			return nil, err
		}
		j.parts = append(j.parts, p)
	}
	if err := j.check(); err != nil {
		j.Leave()
		return nil, err
	}
	return j, nil
}

// Leave ends what Enter began.
func (j *Call) Leave() {
	for _, p := range j.parts {
		p.Guard.Leave()
	}
}

// check returns an error unless all parts are of one world and have gradients.
func (j *Call) check() error {
	if len(j.parts) == 0 {
		return fmt.Errorf("switchyard: %s: of no part of a model, want one at least", j.op)
	}
	for _, p := range j.parts {
		if p.World != j.parts[0].World {
			return j.Misuse("%s is of another world than %s", p.Label, j.parts[0].Label)
		}
		if err := p.Guard.CheckStep(j.op); err != nil {
			return errtext.Errorf("%w (%s)", err, p.Label)
		}
		if err := p.Complete(); err != nil {
			return j.Misuse("%w", err)
		}
	}
	return nil
}

// Misuse is the error of a call that has done nothing, by this rank's fault.
func (j *Call) Misuse(format string, args ...any) error {
	return j.parts[0].Guard.Misuse(j.op, format, args...)
}

// lead is the part by which the call is noted: ranks that are out of step are then found.
func (j *Call) lead() int {
	for i, p := range j.parts {
		if p.Noted {
			return i
		}
	}
	return 0
}

// Attempt runs do, after which no part is what it was unless it succeeds or all ranks agree on its
// error.
func (j *Call) Attempt(do func() error) error {
	guards := []*lifecycle.Guard{j.parts[j.lead()].Guard}
	for i, p := range j.parts {
		if i != j.lead() {
			guards = append(guards, p.Guard)
		}
	}
	return lifecycle.AttemptAll(guards, j.op, do)
}

// Reduce sums what is not yet summed.
func (j *Call) Reduce(ctx context.Context) error {
	for _, p := range j.parts {
		if err := p.ReduceAll(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Norm sums what is not yet summed, and returns the norm of all gradients. Each rank may say one
// number beside.
func (j *Call) Norm(ctx context.Context, say ...float64) (gradients.Norm, error) {
	if err := j.Reduce(ctx); err != nil {
		return gradients.Norm{}, err
	}
	var squares []gradients.Squares
	for _, p := range j.parts {
		squares = append(squares, p.Squares())
	}
	return j.NormOf(ctx, squares, say...)
}

// NormOf has the ranks tell each other of their squares, and what they say.
func (j *Call) NormOf(ctx context.Context, squares []gradients.Squares, say ...float64) (gradients.Norm, error) {
	n, err := gradients.NormOf(ctx, j.parts[j.lead()].Comm(), squares, say...)
	if err != nil {
		err = errtext.Errorf("switchyard: %s: %w", j.op, err)
	}
	return n, err
}

// Scale multiplies all gradients.
func (j *Call) Scale(factor float32) {
	for _, p := range j.parts {
		p.Scale(factor)
	}
}

// Agree returns an error, the same on every rank, unless all have said the same.
func (j *Call) Agree(what string, said []float64) error {
	for r, theirs := range said {
		if theirs != said[0] {
			return j.agreed(transport.Rank(r), fmt.Errorf("%w: its %s is %v, that of rank %d is %v",
				transport.ErrMismatch, what, theirs, j.joined(0), said[0]))
		}
	}
	return nil
}

// AgreeHeld returns an error, the same on every rank, unless what all of them hold has the same
// gradients everywhere: they would scale it by other factors.
func (j *Call) AgreeHeld(digests []float64) error {
	for r, of := range digests {
		if of != digests[0] {
			return j.agreed(transport.Rank(r), fmt.Errorf(
				"%w: it gave other parts than rank %d, or has other gradients of parameters that every rank holds",
				transport.ErrMismatch, j.joined(0)))
		}
	}
	return nil
}

// NotFinite returns an error on every rank if a gradient is not finite.
func (j *Call) NotFinite(n gradients.Norm) error {
	if n.Fault == nil {
		return nil
	}
	err := fmt.Errorf("%w: the norm of the gradients is %v, by those of %s of %s",
		alltoall.ErrNotFinite, n.Value, n.Fault.What, j.parts[n.Fault.Owner].Label)
	if n.Fault.Rank == transport.None { // every rank has them
		return lifecycle.Agreed(errtext.Errorf("switchyard: %s: %w", j.op, err))
	}
	return j.agreed(n.Fault.Rank, err)
}

// agreed is an error on which all ranks agree, because of a rank.
func (j *Call) agreed(by transport.Rank, err error) error {
	return lifecycle.Agreed(&transport.Error{Rank: j.joined(by), Op: j.op, Err: err})
}

// joined is the number by which errors name a rank.
func (j *Call) joined(r transport.Rank) transport.Rank { return j.parts[0].Joined(r) }
