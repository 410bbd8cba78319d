package switchyard

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Shared experts answer every token, beside those that it is routed to: each rank keeps a copy and computes its own
// tokens, so nothing travels but gradients. (DeepSeek-MoE: Dai et al. 2024; Megatron's shared experts; FastMoE's and
// DeepSpeed's residual form.)

// newShared builds this rank's copy of the shared expert, if there is one. Its number, from which its first parameters are
// drawn, follows those of the routed experts.
func (l *Layer) newShared() (err error) {
	if l.cfg.Shared == nil {
		return nil
	}
	l.shared, err = l.cfg.Shared.New(expert.Shape{Dim: l.cfg.Dim, First: l.cfg.Experts, Count: 1, Seed: l.cfg.Seed})
	return err
}

// sharedParams returns the shared expert's parameters, or nil.
func (l *Layer) sharedParams() *expert.Params {
	if l.shared == nil {
		return nil
	}
	return l.shared.Params()
}

// sharedForward computes the shared expert's answers.
func (l *Layer) sharedForward(p *pass) {
	if l.shared == nil {
		return
	}
	l.compute(func() {
		p.sharedAnswers, p.sharedSaved = l.shared.Forward(p.x, expert.Rows{
			Experts: 1, FirstLeaf: p.batch.firstLeaf(l.world.Rank()), Leaves: len(p.ends), Ends: p.ends,
		})
	})
}

// addShared adds the shared expert's answers to y, but for tokens that are padding.
func (l *Layer) addShared(p *pass, y blas32.General) {
	for t := range p.sharedAnswers.Rows {
		if !p.padded(t) {
			f32.Add(mat.Row(y, t), mat.Row(p.sharedAnswers, t))
		}
	}
}

// sharedBackward computes the shared expert's part of the gradient of x.
func (l *Layer) sharedBackward(p *pass, dy blas32.General) {
	if l.shared == nil {
		return
	}
	l.dshared = mat.Resize(l.dshared, dy.Rows, l.cfg.Dim)
	for t := range dy.Rows {
		if p.padded(t) {
			clear(mat.Row(l.dshared, t))
			continue
		}
		copy(mat.Row(l.dshared, t), mat.Row(dy, t))
	}
	l.compute(func() { p.sharedBack = l.shared.Backward(p.sharedSaved, l.dshared) })
}

// addSharedBackward adds that part to dx.
func (l *Layer) addSharedBackward(p *pass, dx blas32.General) {
	for t := range p.sharedBack.Rows {
		if !p.padded(t) {
			f32.Add(mat.Row(dx, t), mat.Row(p.sharedBack, t))
		}
	}
}
