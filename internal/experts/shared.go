package experts

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// Shared is an expert that answers every token of its rank, beside those that the token is routed
// to. Each rank has a copy of it, so nothing travels but gradients of parameters. (DeepSeek-MoE:
// Dai et al. 2024; Megatron's shared experts; the residual form of FastMoE and DeepSpeed.) A nil
// Shared answers nothing.
type Shared struct {
	group  expert.Group
	holder expert.Holder  // the group, if it is one
	dy     blas32.General // scratch: gradient of its answers
}

func newShared(cfg Config) (*Shared, error) {
	shape := cfg.Shape
	shape.First, shape.Count = cfg.Total, 1
	group, err := cfg.Shared.New(shape)
	if err != nil {
		return nil, err
	}
	s := &Shared{group: group}
	s.holder, _ = group.(expert.Holder)
	return s, nil
}

// Params returns the parameters, or nil.
func (s *Shared) Params() *param.Set {
	if s == nil {
		return nil
	}
	return s.group.Params()
}

// SharedPass is what a shared expert keeps of a pass. That of a nil Shared is zero.
type SharedPass struct {
	saved   expert.Saved
	padded  []bool
	answers blas32.General
	dx      blas32.General
}

// Forward computes the answers to the tokens of this rank, whose groups are the leaves from
// firstLeaf on of the tree in which gradients are summed. They must stay as they are until Backward
// returns.
func (s *Shared) Forward(t *batch.Tokens, firstLeaf int) SharedPass {
	if s == nil {
		return SharedPass{}
	}
	p := SharedPass{padded: t.Info.Padding}
	p.answers, p.saved = s.group.Forward(t.X, expert.Rows{
		Experts: 1, FirstLeaf: firstLeaf, Leaves: len(t.Info.Ends), Ends: t.Info.Ends,
	})
	if s.holder != nil {
		s.holder.Hold(p.saved)
	}
	return p
}

// End ends a pass, whether it has gone back or not. It does nothing if the pass has ended, or not
// begun.
func (s *Shared) End(p *SharedPass) {
	if s != nil && s.holder != nil && p.saved != nil {
		s.holder.Release(p.saved)
	}
	*p = SharedPass{}
}

// AddTo adds the answers to y, but for tokens that are padding.
func (p *SharedPass) AddTo(y blas32.General) { p.add(y, p.answers) }

// Backward takes the gradient of y.
func (s *Shared) Backward(p *SharedPass, dy blas32.General) {
	if s == nil {
		return
	}
	s.dy = mat.Resize(s.dy, dy.Rows, dy.Cols)
	for t := range dy.Rows {
		if p.pads(t) {
			clear(mat.Row(s.dy, t))
			continue
		}
		copy(mat.Row(s.dy, t), mat.Row(dy, t))
	}
	if p.dx = s.group.Backward(p.saved, s.dy); s.holder == nil { // its next call takes it back
		dx := mat.Resize(blas32.General{}, p.dx.Rows, p.dx.Cols)
		mat.Copy(dx, p.dx)
		p.dx = dx
	}
}

// AddGradientTo adds the gradient of x that Backward has computed to dx, but for tokens that are
// padding.
func (p *SharedPass) AddGradientTo(dx blas32.General) { p.add(dx, p.dx) }

func (p *SharedPass) add(to, m blas32.General) {
	for t := range m.Rows {
		if !p.pads(t) {
			f32.Add(mat.Row(to, t), mat.Row(m, t))
		}
	}
}

func (p *SharedPass) pads(t int) bool { return len(p.padded) > 0 && p.padded[t] }
