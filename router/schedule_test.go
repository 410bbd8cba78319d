package router

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScheduleCurves(t *testing.T) {
	for _, c := range []struct {
		name string
		Schedule
		want map[int]int
	}{
		{"the paper's", Schedule{CurveLinear, 8, 16, 400000}, map[int]int{0: 8, 24999: 8, 25001: 9, 200000: 12, 399999: 16, 400000: 16, math.MaxInt: 16}},
		{"linear down", Schedule{CurveLinear, 16, 8, 100}, map[int]int{-3: 16, 0: 16, 50: 12, 99: 8, 100: 8}},
		{"cosine up", Schedule{CurveHalfCosine, 1, 16, 1000}, map[int]int{0: 1, 100: 1, 333: 5, 500: 9, 667: 12, 900: 16, 1000: 16}},
		{"cosine down", Schedule{CurveHalfCosine, 16, 2, 1000}, map[int]int{0: 16, 500: 9, 999: 2, 1000: 2}},
		{"exponential up", Schedule{CurveExponential, 1, 101, 300}, map[int]int{0: 1, 1: 2, 100: 64, 299: 96, 300: 101}},
		{"exponential down", Schedule{CurveExponential, 101, 1, 300}, map[int]int{0: 101, 1: 100, 100: 38, 299: 6, 300: 1}},
		{"multi-step up", Schedule{CurveMultiStep, 1, 16, 100}, map[int]int{0: 1, 19: 1, 20: 2, 40: 4, 60: 8, 80: 16, 100: 16}},
		{"multi-step down", Schedule{CurveMultiStep, 16, 1, 100}, map[int]int{0: 16, 19: 16, 20: 8, 99: 1, 100: 1}},
		{"multi-step between", Schedule{CurveMultiStep, 3, 10, 90}, map[int]int{0: 3, 30: 6, 60: 10, 89: 10}},
		{"none", Schedule{From: 3, To: 5}, map[int]int{0: 5, 7: 5}},
	} {
		for step, want := range c.want {
			require.Equal(t, want, c.At(step), "%s at %d", c.name, step)
		}
	}
}

// TestSchedulesAreMonotone goes through all steps of all curves.
func TestSchedulesAreMonotone(t *testing.T) {
	for curve := range Curve(curves) {
		for _, way := range [][2]int{{1, 16}, {16, 1}, {5, 5}, {1, 2}, {7, 3}} {
			s := Schedule{curve, way[0], way[1], 317}
			require.Equal(t, s.From, s.At(0), "%+v", s)
			require.Equal(t, s.To, s.At(317), "%+v", s)
			for step := range 320 {
				a, b := s.At(step), s.At(step+1)
				require.True(t, a == b || a < b == (s.From < s.To), "%+v: %d, then %d", s, a, b)
			}
		}
	}
}

func TestCosine01(t *testing.T) {
	for i := range 1001 {
		x := float64(i) / 1000
		require.InDelta(t, math.Cos(math.Pi*x), cosine01(x), 1e-15, "%v", x)
	}
	require.Equal(t, []float64{1, 0, -1}, []float64{cosine01(0), cosine01(0.5), cosine01(1)})
}
