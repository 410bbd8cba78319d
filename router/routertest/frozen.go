package routertest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// testFrozen freezes the parameters of a gate: it decides as before, and gives the same gradient of
// the tokens, but no leaf of the parameters, whether it keeps that of its losses apart or not.
// Thawed it gives all again.
func testFrozen(t *testing.T, s suite) {
	g := s.gate(t)
	p := g.Params()
	if p == nil {
		t.Skip("no parameters")
	}
	var losses *param.Set
	if splitter, ok := g.(router.LossSplitter); ok {
		losses = splitter.LossParams()
	}
	x, ends := s.tokens(14), []int{6, 6, 14}
	d, _ := s.route(t, g, x, ends)
	upstream := s.gradient(d)
	upstream.FirstLeaf = 4
	require.NoError(t, g.Backward(d, x, upstream))
	p.Grad.Reset()
	for _, apart := range []*param.Set{nil, losses} {
		upstream.Losses = apart
		p.Frozen = false
		want := s.passOf(t, g, x, ends, upstream)
		require.NotEmpty(t, want.leaf)
		for range 2 { // the second time in used memory
			p.Frozen = true
			got := s.passOf(t, g, x, ends, upstream)
			require.Empty(t, got.leaf, "a leaf of frozen parameters")
			require.Empty(t, got.ofLosses, "a leaf of the losses of frozen parameters")
			require.Equal(t, want.decision, got.decision)
			require.Equal(t, want.dx, got.dx, "gradient of the tokens")
			p.Frozen = false
			require.Equal(t, want, s.passOf(t, g, x, ends, upstream), "thawed")
		}
	}
}

// gatePass is the results of a pass.
type gatePass struct {
	decision           router.Decision
	dx, leaf, ofLosses []float32
}

// passOf routes x with g and takes upstream back. A gradient without leaves is nil.
func (s suite) passOf(t *testing.T, g router.Gate, x blas32.General, ends []int, upstream router.Gradient) gatePass {
	d, kept := s.route(t, g, x, ends)
	upstream.DX = matrix(x.Rows, dim)
	require.NoError(t, g.Backward(d, x, upstream))
	return gatePass{kept, upstream.DX.Data, taken(g.Params()), taken(upstream.Losses)}
}

// taken returns the sum of the leaves in a set, nil if there are none, and forgets them.
func taken(p *param.Set) []float32 {
	if p == nil || len(p.Grad.Nodes()) == 0 {
		return nil
	}
	defer p.Grad.Reset()
	return slices.Clone(p.Grad.Total())
}
