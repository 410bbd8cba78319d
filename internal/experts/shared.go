package experts

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// Shared is an expert that answers every token of its rank, beside those that the token is routed
// to. Each rank has a copy of it, so nothing travels but gradients of parameters. (DeepSeek-MoE:
// Dai et al. 2024; Megatron's shared experts; the residual form of FastMoE and DeepSpeed.) A nil
// Shared answers nothing.
type Shared struct {
	group expert.Group
	dy    blas32.General // scratch: gradient of its answers
}

// NewShared builds a shared expert of the given shape.
func NewShared(e expert.Expert, shape expert.Shape) (*Shared, error) {
	group, err := e.New(shape)
	if err != nil {
		return nil, err
	}
	return &Shared{group: group}, nil
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

// Forward computes the answers to the tokens x, some of which may be padding: padded marks them, or
// is empty. x must stay as it is until Backward returns.
func (s *Shared) Forward(x blas32.General, rows expert.Rows, padded []bool) SharedPass {
	if s == nil {
		return SharedPass{}
	}
	p := SharedPass{padded: padded}
	p.answers, p.saved = s.group.Forward(x, rows)
	return p
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
	p.dx = s.group.Backward(p.saved, s.dy)
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
