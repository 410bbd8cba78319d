package expert_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/param"
)

func vector(values ...float32) *expert.Params {
	p := param.NewSet(param.Tensor{Name: "v", Shape: []int{len(values)}})
	copy(p.Value, values)
	return p
}

// TestAdamAgainstFloat64 runs the published update in float64 beside ours.
func TestAdamAgainstFloat64(t *testing.T) {
	r := seeded(t)
	const n = 70
	p := param.NewSet(param.Tensor{Name: "v", Shape: []int{n}})
	a := expert.Adam{LR: 0.01, Beta1: 0.8, Beta2: 0.95, Eps: 1e-6, WeightDecay: 0.1}
	var w, m, v [n]float64
	for i := range w {
		p.Value[i] = r.Float32()
		w[i] = float64(p.Value[i])
	}
	grad := make([]float32, n)
	for step := 1; step <= 20; step++ {
		for i := range grad {
			grad[i] = r.Float32()*2 - 1
			g := float64(grad[i])
			m[i] = 0.8*m[i] + 0.2*g
			v[i] = 0.95*v[i] + 0.05*g*g
			mHat, vHat := m[i]/(1-math.Pow(0.8, float64(step))), v[i]/(1-math.Pow(0.95, float64(step)))
			w[i] -= 0.01*0.1*w[i] + 0.01*mHat/(math.Sqrt(vHat)+1e-6)
		}
		a.Update(p, grad)
	}
	requireNear(t, w[:], p.Value, "parameters")
}

func TestAdamDefaults(t *testing.T) {
	p, q := vector(1, 2), vector(1, 2)
	var zero expert.Adam
	full := expert.Adam{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}
	for range 3 {
		zero.Update(p, []float32{0.5, -3})
		full.Update(q, []float32{0.5, -3})
	}
	require.Equal(t, q.Value, p.Value)
	require.InDelta(t, 1-3e-3, p.Value[0], 1e-6) // a constant gradient moves by LR a step
	require.InDelta(t, 2+3e-3, p.Value[1], 1e-6)
}

// TestAdamKeepsSetsApart interleaves two sets with one optimiser.
func TestAdamKeepsSetsApart(t *testing.T) {
	p, q, alone := vector(1), vector(5), vector(1)
	var both, one expert.Adam
	for i := range 4 {
		g := []float32{float32(i) - 1}
		both.Update(p, g)
		both.Update(q, []float32{100})
		one.Update(alone, g)
	}
	require.Equal(t, alone.Value, p.Value)
}

func TestSGD(t *testing.T) {
	p := vector(1)
	s := expert.SGD{LR: 0.5, Momentum: 0.5, WeightDecay: 0.25}
	s.Update(p, []float32{1}) // v = 1; 1 - 0.125 - 0.5
	require.Equal(t, []float32{0.375}, p.Value)
	s.Update(p, []float32{1}) // v = 1.5; 0.375 - 0.046875 - 0.75
	require.Equal(t, []float32{-0.421875}, p.Value)
	plain, q := expert.SGD{}, vector(1)
	plain.Update(q, []float32{2})
	require.InDelta(t, 0.98, q.Value[0], 1e-7)
}

func TestUpdateChecksLength(t *testing.T) {
	require.PanicsWithValue(t, "expert: gradient of 1 elements for 2 parameters", func() { new(expert.Adam).Update(vector(1, 2), []float32{1}) })
	require.PanicsWithValue(t, "expert: gradient of 1 elements for 2 parameters", func() { new(expert.SGD).Update(vector(1, 2), []float32{1}) })
}
