package expert

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// Identity is an expert that returns its input and has no parameters, for tests and measurements of
// the exchange alone.
type Identity struct{}

var _ Expert = Identity{}

type identityGroup struct{ base }

// New checks the shape and builds the experts of one rank.
func (Identity) New(s Shape) (Group, error) {
	var wrong faults
	wrong.shape(s, 1, 0)
	if len(wrong) > 0 {
		return nil, wrong.err()
	}
	return &identityGroup{base{shape: s, params: param.NewSet()}}, nil
}

// Forward implements [Group].
func (g *identityGroup) Forward(x blas32.General, rows Rows) (blas32.General, Saved) {
	p := g.begin(x, rows)
	y := p.y.Matrix(x.Rows, x.Cols)
	mat.Copy(y, x)
	g.cur = nil
	return y, p
}

// Backward implements [Group].
func (g *identityGroup) Backward(saved Saved, dy blas32.General) blas32.General {
	dx := g.BackwardInput(saved, dy)
	g.BackwardWeights(saved)
	return dx
}

// BackwardInput implements [SplitBackward].
func (g *identityGroup) BackwardInput(saved Saved, dy blas32.General) blas32.General {
	g.resume(saved, dy)
	mat.Copy(g.dxm, dy)
	return g.pause()
}

// BackwardWeights implements [SplitBackward].
func (g *identityGroup) BackwardWeights(saved Saved) {
	p := g.resumeWeights(saved)
	if !p.frozen {
		for l := range p.rows.Leaves {
			g.params.Grad.Leaf(p.rows.FirstLeaf + l)
		}
	}
	g.release()
}
