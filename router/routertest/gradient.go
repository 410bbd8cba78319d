package routertest

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/router"
)

// Gradients of a float32 function: a step large enough that rounding does not show in the
// difference, and a tolerance, relative to the largest gradient, for what both leave. A wrong
// formula is off by far more.
const (
	step      = 1.0 / 256
	tolerance = 4e-3
)

// testGradient compares Backward with differences of the loss Σ upstream·weight + Σ
// scale·GroupLoss, in the tokens and in the parameters. If a step changes a choice the loss may
// jump; those are left out, but must be few. If a batch happens to lie so near to a tie that
// they are not, what can be compared of it is, and another one is drawn.
func testGradient(t *testing.T, s suite) {
	const draws = 4
	for range draws {
		if testGradientOf(t, s) {
			return
		}
	}
	require.Fail(t, "a step in most elements changes a choice", "in each of %d batches", draws)
}

// testGradientOf does so for one batch, and tells whether most elements could be compared.
func testGradientOf(t *testing.T, s suite) bool {
	x, ends := s.tokens(14), []int{6, 6, 14}
	g := s.gate(t)
	d, base := s.route(t, g, x, ends)
	grad := s.gradient(d)
	loss := func() (float64, bool) { return s.loss(t, g, x, ends, &base, grad) }
	dx, dp := s.backward(t, g, d, x, grad)

	checked, total := compare(t, "token element", x.Data, dx, loss)
	if p := g.Params(); p != nil {
		c, n := compare(t, "parameter", p.Value, dp, loss)
		checked, total = checked+c, total+n
	}
	// Without parameters, routes may depend on a token's bits, which every step changes.
	return g.Params() == nil || 2*checked > total
}

// backward returns the gradient with respect to the tokens and to the parameters.
func (s suite) backward(t *testing.T, g router.Gate, d *router.Decision, x blas32.General, grad router.Gradient) (dx, dp []float32) {
	require.NoError(t, g.Backward(d, x, grad))
	if p := g.Params(); p != nil {
		dp = slices.Clone(p.Grad.Total())
		p.Grad.Reset()
	}
	return grad.DX.Data, dp
}

// loss returns the loss, and whether choices and drops are as in base.
func (s suite) loss(t *testing.T, g router.Gate, x blas32.General, ends []int, base *router.Decision, grad router.Gradient) (float64, bool) {
	d, err := g.Route(x, s.batch(ends))
	require.NoError(t, err)
	same := slices.Equal(d.Token, base.Token) && slices.Equal(d.Ends, base.Ends) && slices.Equal(d.Counts, base.Counts)
	if !same {
		return 0, false
	}
	sum := 0.0
	for i, w := range d.Weight {
		sum += float64(grad.Weights[i]) * float64(w)
	}
	for i, l := range d.GroupLoss {
		sum += float64(grad.LossScale[i]) * l
	}
	return sum, true
}

// compare holds each element of gradient against the difference that a step in the element of value
// makes.
func compare(t *testing.T, what string, value, gradient []float32, loss func() (float64, bool)) (checked, total int) {
	scale := 1e-2
	for _, v := range gradient {
		scale = max(scale, math.Abs(float64(v)))
	}
	base, _ := loss()
	every := 1
	if testing.Short() {
		every = 5 // which is prime to dim: all columns have their turn
	}
	for i := 0; i < len(value); i += every {
		total++
		whole, bend, ok := slope(&value[i], step, base, loss)
		half, bendHalf, same := slope(&value[i], step/2, base, loss)
		// A jump within the step, which not every change of choice is seen by, or a kink makes
		// these differ: a smooth function's slope does not depend on the step, and its bend is
		// proportional to it.
		if !ok || !same || math.Abs(whole-half) > tolerance*scale/4 || math.Abs(2*bendHalf-bend) > tolerance*scale {
			continue
		}
		checked++
		neartest.Number(t, whole, float64(gradient[i]), tolerance*scale, "%s %d", what, i)
	}
	return checked, total
}

// slope is the central difference of the loss in one value, by how much the slopes on both sides
// differ, and whether the choices are the same there.
func slope(value *float32, step float32, base float64, loss func() (float64, bool)) (slope, bend float64, same bool) {
	v := *value
	*value = v + step
	above, ok := loss()
	*value = v - step
	below, same := loss()
	*value = v
	up, down := float64(v+step)-float64(v), float64(v)-float64(v-step)
	return (above - below) / (up + down), (above-base)/up - (base-below)/down, ok && same
}
