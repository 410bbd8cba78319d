package routertest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// flight is a pass and what it has alone.
type flight struct {
	x     blas32.General
	ends  []int
	grad  router.Gradient
	kept  router.Decision
	dx    []float32
	dp    []float32
	d     *router.Decision
	sums  []int64 // of its consultation
	under router.Consultation
}

// testInFlight has passes in flight: their routes and gradients are those of each alone. Those of a
// consulting gate go through their rounds in turns.
func testInFlight(t *testing.T, s suite) {
	if s.gate(t).Params() == nil {
		t.Skip("routes may go by the row, not by the token")
	}
	g := s.gate(t)
	for range 2 { // the second time in used memory
		var passes [3]flight
		for i, ends := range [][]int{{9}, {4, 4, 17}, {6, 13}} {
			passes[i] = s.flight(t, ends)
		}
		s.routeAll(t, g, passes[:])
		for i := range passes {
			require.Equal(t, passes[i].kept, copyOf(passes[i].d), "pass %d", i)
		}
		for _, i := range []int{2, 0, 1} {
			f := &passes[i]
			again := f.grad
			again.DX = matrix(f.x.Rows, dim)
			dx, dp := s.backward(t, g, f.d, f.x, again)
			require.Equal(t, f.dx, dx, "pass %d", i)
			require.Equal(t, f.dp, dp, "pass %d", i)
		}
	}
}

// flight runs a pass alone.
func (s suite) flight(t *testing.T, ends []int) flight {
	f := flight{x: s.tokens(ends[len(ends)-1]), ends: ends}
	g := s.gate(t)
	var d *router.Decision
	d, f.kept = s.route(t, g, f.x, ends)
	f.grad = s.gradient(d)
	f.dx, f.dp = s.backward(t, g, d, f.x, f.grad)
	return f
}

// routeAll routes all passes with one gate.
func (s suite) routeAll(t *testing.T, g router.Gate, passes []flight) {
	consulting, ok := g.(router.Consulting)
	if !ok {
		for i := range passes {
			var err error
			passes[i].d, err = g.Route(passes[i].x, s.batch(passes[i].ends))
			require.NoError(t, err)
		}
		return
	}
	for i := range passes {
		passes[i].under = consulting.Consult(passes[i].x, s.batch(passes[i].ends), router.Share{Count: 1})
	}
	for left := len(passes); left > 0; {
		for i := range passes {
			if f := &passes[i]; f.under != nil {
				var err error
				f.sums, err = f.under.Next(f.sums)
				require.NoError(t, err)
				if len(f.sums) == 0 {
					f.d, f.under = f.under.Decide(), nil
					left--
				}
			}
		}
	}
}
