package expert_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
)

func vector(values ...float32) *param.Set {
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

// TestConstructorsSetTheUsualValues, which the fields then show.
func TestConstructorsSetTheUsualValues(t *testing.T) {
	a := expert.NewAdam(0.25)
	require.Equal(t, [5]float32{0.25, 0.9, 0.999, 1e-8, 0}, [5]float32{a.LR, a.Beta1, a.Beta2, a.Eps, a.WeightDecay})
	s := expert.NewSGD(0.5)
	require.Equal(t, [3]float32{0.5, 0, 0}, [3]float32{s.LR, s.Momentum, s.WeightDecay})
	p, q := vector(1, 2), vector(1, 2)
	literal := expert.Adam{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}
	made := expert.NewAdam(1e-3)
	for range 3 {
		made.Update(p, []float32{0.5, -3})
		literal.Update(q, []float32{0.5, -3})
	}
	require.Equal(t, q.Value, p.Value)
	require.InDelta(t, 1-3e-3, p.Value[0], 1e-6) // a constant gradient moves by LR a step
	require.InDelta(t, 2+3e-3, p.Value[1], 1e-6)
}

// TestZeroIsZero: learning rates and decay rates of 0 mean what they say, at the start, in between
// and at the end.
func TestZeroIsZero(t *testing.T) {
	type rated struct {
		optimizer expert.Optimizer
		rate      *float32
	}
	adam, sgd := expert.NewAdam(0), expert.NewSGD(0)
	literal := &expert.Adam{Beta1: 0.9, Beta2: 0.9, Eps: 1, LR: 0.25}
	for name, o := range map[string]rated{"adam": {adam, &adam.LR}, "sgd": {sgd, &sgd.LR}, "literal": {literal, &literal.LR}} {
		p := vector(1, -2, 3)
		rates := []float32{0, 0.5, 0, 0}
		if name == "literal" {
			rates[0] = 0.25 // it must be set at first
		}
		for step, rate := range rates {
			*o.rate = rate
			before := slices.Clone(p.Value)
			o.optimizer.Update(p, []float32{1, 2, -1})
			require.Equal(t, rate == 0, slices.Equal(before, p.Value), "%s, step %d", name, step)
		}
	}
	a, p := expert.NewAdam(0.5), vector(1, 1)
	a.Beta1, a.Beta2 = 0, 0
	for range 3 {
		a.Update(p, []float32{2, -0.25}) // m = g, v = g²: each step is LR, however large the gradient
	}
	require.InDelta(t, -0.5, p.Value[0], 1e-6)
	require.InDelta(t, 2.5, p.Value[1], 1e-6)
}

// TestWrongSettingsAreNamed: what a literal has left out names the constructor; what is no setting
// names the field.
func TestWrongSettingsAreNamed(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	with := func(change func(a *expert.Adam)) *expert.Adam {
		a := expert.NewAdam(0.1)
		change(a)
		return a
	}
	for i, c := range []struct {
		of    expert.Validator
		texts []string
	}{
		{&expert.Adam{}, []string{"Adam.LR is not set", "Adam.Beta1 is not set", "Adam.Beta2 is not set", "Adam.Eps is not set", "expert.NewAdam"}},
		{&expert.Adam{LR: 0.1, Beta2: 0.99, Eps: 1e-8}, []string{"Adam.Beta1 is not set", "expert.NewAdam"}},
		{&expert.Adam{LR: 0.1}, []string{"Adam.Beta2 is not set", "expert.NewAdam"}},
		{&expert.SGD{Momentum: 0.9}, []string{"SGD.LR is not set", "expert.NewSGD"}},
		{expert.NewAdam(nan), []string{"Adam.LR is NaN"}},
		{expert.NewAdam(inf), []string{"Adam.LR is +Inf"}},
		{expert.NewAdam(-0.1), []string{"Adam.LR is -0.1, must be a finite number of at least 0"}},
		{expert.NewSGD(nan), []string{"SGD.LR is NaN"}},
		{with(func(a *expert.Adam) { a.Moments = 3 }), []string{"Adam.Moments is 3, must be 0 to 2"}},
		{&expert.SGD{LR: 1, Moments: -1}, []string{"SGD.Moments is -1, must be 0 to 2"}},
		{expert.NewSGD(-1), []string{"SGD.LR is -1"}},
		{with(func(a *expert.Adam) { a.Beta1 = 1 }), []string{"Adam.Beta1 is 1"}},
		{with(func(a *expert.Adam) { a.Beta2 = -0.5 }), []string{"Adam.Beta2 is -0.5"}},
		{with(func(a *expert.Adam) { a.Eps = 0 }), []string{"Adam.Eps is 0"}},
		{with(func(a *expert.Adam) { a.Eps = nan }), []string{"Adam.Eps is NaN"}},
		{with(func(a *expert.Adam) { a.WeightDecay = inf }), []string{"Adam.WeightDecay is +Inf"}},
		{&expert.SGD{LR: 1, Momentum: 1.5}, []string{"SGD.Momentum is 1.5"}},
		{&expert.SGD{LR: 1, WeightDecay: -1}, []string{"SGD.WeightDecay is -1"}},
		{(*expert.Adam)(nil), []string{"nil Adam"}},
		{(*expert.SGD)(nil), []string{"nil SGD"}},
	} {
		err := c.of.Validate()
		for _, text := range c.texts {
			require.ErrorContains(t, err, text, "case %d", i)
		}
		p := vector(1)
		require.PanicsWithValue(t, err.Error(), func() { c.of.Update(p, []float32{1}) }, "case %d", i)
		require.Equal(t, []float32{1}, p.Value)
	}
}

// TestAdamKeepsSetsApart interleaves two sets with one optimizer.
func TestAdamKeepsSetsApart(t *testing.T) {
	p, q, alone := vector(1), vector(5), vector(1)
	both, one := expert.NewAdam(1e-3), expert.NewAdam(1e-3)
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
	plain, q := expert.NewSGD(0.01), vector(1)
	plain.Update(q, []float32{2})
	require.InDelta(t, 0.98, q.Value[0], 1e-7)
}

func TestUpdateChecksLength(t *testing.T) {
	require.PanicsWithValue(t, "expert: gradient of 1 elements for 2 parameters", func() { expert.NewAdam(1).Update(vector(1, 2), []float32{1}) })
	require.PanicsWithValue(t, "expert: gradient of 1 elements for 2 parameters", func() { expert.NewSGD(1).Update(vector(1, 2), []float32{1}) })
}

// TestOptimizersAllowTheirLimits: each limit itself is a value that can be set.
func TestOptimizersAllowTheirLimits(t *testing.T) {
	below1 := math.Nextafter32(1, 0)
	for _, beta := range []float32{0, below1} {
		a := expert.NewAdam(0.1)
		a.Beta1, a.Beta2 = beta, beta
		require.NoError(t, a.Validate(), "%v", beta)
		s := expert.NewSGD(0.1)
		s.Momentum = beta
		require.NoError(t, s.Validate(), "%v", beta)
	}
	for _, lr := range []float32{0, math.MaxFloat32} {
		require.NoError(t, expert.NewAdam(lr).Validate(), "%v", lr)
	}
}

// TestTooManyParametersAreAnError, before memory is taken for them.
func TestTooManyParametersAreAnError(t *testing.T) {
	for _, kind := range []expert.Expert{expert.FFN{Hidden: 1 << 24}, expert.SwiGLU{Hidden: 1 << 24}} {
		_, err := kind.New(expert.Shape{Dim: 1 << 24, Count: 1})
		require.ErrorContains(t, err, "expert: ", "%T", kind)
		require.ErrorContains(t, err, "elements", "%T", kind)
	}
}
