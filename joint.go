package switchyard

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/transport"
)

// joint is the parts of a model whose gradients one call treats as one vector.
type joint struct {
	op    string
	parts []trainedPart
}

// enterParts begins a call over parts, each of which must have gradients. Without an error the
// caller must call leave.
func enterParts(ctx context.Context, op string, parts []Trainable) (*joint, error) {
	j := &joint{op: op}
	for i, of := range parts {
		if check.Nil(of) {
			j.leave()
			return nil, fmt.Errorf("switchyard: %s: part %d is nil", op, i)
		}
		p, err := of.part(op)
		if err == nil {
			err = p.guard.EnterAll(ctx, op)
		}
		if err != nil {
			j.leave()
			return nil, err
		}
		j.parts = append(j.parts, p)
	}
	if err := j.check(); err != nil {
		j.leave()
		return nil, err
	}
	return j, nil
}

func (j *joint) leave() {
	for _, p := range j.parts {
		p.guard.LeaveAll()
	}
}

// check returns an error unless all parts are of one world and have gradients.
func (j *joint) check() error {
	if len(j.parts) == 0 {
		return fmt.Errorf("switchyard: %s: of no part of a model, want one at least", j.op)
	}
	for _, p := range j.parts {
		if p.world != j.parts[0].world {
			return j.misuse("%s is of another world than %s", p.label, j.parts[0].label)
		}
		if err := p.guard.CheckStep(j.op); err != nil {
			return errtext.Errorf("%w (%s)", err, p.label)
		}
		if err := p.complete(); err != nil {
			return j.misuse("%w", err)
		}
	}
	return nil
}

// misuse is the error of a call that has done nothing, by this rank's fault.
func (j *joint) misuse(format string, args ...any) error {
	return j.parts[0].guard.Misuse(j.op, format, args...)
}

// lead is the part by which the call is noted: ranks that are out of step are then found.
func (j *joint) lead() int {
	for i, p := range j.parts {
		if p.noted {
			return i
		}
	}
	return 0
}

// attempt runs do, after which no part is what it was unless it succeeds or all ranks agree on its
// error.
func (j *joint) attempt(do func() error) error {
	guards := []*lifecycle.Guard{j.parts[j.lead()].guard}
	for i, p := range j.parts {
		if i != j.lead() {
			guards = append(guards, p.guard)
		}
	}
	return lifecycle.AttemptAll(guards, j.op, do)
}

// norm sums what is not yet summed, and returns the norm of all gradients. Each rank may say one
// number beside.
func (j *joint) norm(ctx context.Context, say ...float64) (gradients.Norm, error) {
	var squares []gradients.Squares
	for _, p := range j.parts {
		if err := p.ReduceAll(ctx); err != nil {
			return gradients.Norm{}, err
		}
		squares = append(squares, p.Squares())
	}
	return j.normOf(ctx, squares, say...)
}

// normOf has the ranks tell each other of their squares, and what they say.
func (j *joint) normOf(ctx context.Context, squares []gradients.Squares, say ...float64) (gradients.Norm, error) {
	n, err := gradients.NormOf(ctx, j.parts[j.lead()].Comm(), squares, say...)
	if err != nil {
		err = errtext.Errorf("switchyard: %s: %w", j.op, err)
	}
	return n, err
}

// scale multiplies all gradients.
func (j *joint) scale(factor float32) {
	for _, p := range j.parts {
		p.Scale(factor)
	}
}

// agree returns an error, the same on every rank, unless all have said the same.
func (j *joint) agree(what string, said []float64) error {
	for r, theirs := range said {
		if theirs != said[0] {
			return j.agreed(transport.Rank(r), fmt.Errorf("%w: its %s is %v, that of rank %d is %v",
				transport.ErrMismatch, what, theirs, j.joined(0), said[0]))
		}
	}
	return nil
}

// agreeHeld returns an error, the same on every rank, unless what all of them hold has the same
// gradients everywhere: they would scale it by other factors.
func (j *joint) agreeHeld(digests []float64) error {
	for r, of := range digests {
		if of != digests[0] {
			return j.agreed(transport.Rank(r), fmt.Errorf(
				"%w: it gave other parts than rank %d, or has other gradients of parameters that every rank holds",
				transport.ErrMismatch, j.joined(0)))
		}
	}
	return nil
}

// notFinite returns an error on every rank if a gradient is not finite.
func (j *joint) notFinite(n gradients.Norm) error {
	if n.Fault == nil {
		return nil
	}
	err := fmt.Errorf("%w: the norm of the gradients is %v, by those of %s of %s",
		alltoall.ErrNotFinite, n.Value, n.Fault.What, j.parts[n.Fault.Owner].label)
	if n.Fault.Rank == transport.None { // every rank has them
		return lifecycle.Agreed(errtext.Errorf("switchyard: %s: %w", j.op, err))
	}
	return j.agreed(n.Fault.Rank, err)
}

// agreed is an error on which all ranks agree, because of a rank.
func (j *joint) agreed(by transport.Rank, err error) error {
	return lifecycle.Agreed(&transport.Error{Rank: j.joined(by), Op: j.op, Err: err})
}

// joined is the number by which errors name a rank.
func (j *joint) joined(r transport.Rank) transport.Rank { return j.parts[0].world.views.Joined(r) }
