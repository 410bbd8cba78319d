package routertest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// testParameters checks that Params returns one set, and that a gate reads its values anew at each
// call: [router.Several] moves them to other memory.
func testParameters(t *testing.T, s suite) {
	g, moved := s.gate(t), s.gate(t)
	p, q := g.Params(), moved.Params()
	if p == nil {
		t.Skip("no parameters")
	}
	require.Same(t, p, g.Params())
	require.Len(t, q.Value, len(p.Value))
	q.Value = make([]float32, len(p.Value))
	for i := range p.Value {
		p.Value[i] += float32(s.rand.NormFloat64() / 8) // as an optimizer would
		q.Value[i] = p.Value[i]
	}
	x, ends := s.tokens(14), []int{6, 14}
	d, want := s.route(t, g, x, ends)
	e, got := s.route(t, moved, x, ends)
	require.Equal(t, want, got)
	upstream := s.gradient(d)
	dx, own := s.backward(t, g, d, x, upstream)
	upstream.DX = matrix(x.Rows, dim)
	dxMoved, ownMoved := s.backward(t, moved, e, x, upstream)
	require.Equal(t, dx, dxMoved, "gradient of the tokens")
	require.Equal(t, own, ownMoved, "gradient of the parameters")
}
