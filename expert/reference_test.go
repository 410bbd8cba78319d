package expert_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/param"
)

// This file is the experts' formulas once more, in float64 and one number at a time.

const refDim, refHidden, refExperts = 4, 5, 2

// reference is the parameters of refExperts experts in float64, by name.
type reference struct {
	value []float64
	start map[string]int
	act   func(float64) float64
	gated bool
}

func newReference(p *param.Set, act func(float64) float64, gated bool) *reference {
	r := &reference{start: map[string]int{}, act: act, gated: gated}
	for _, v := range p.Value {
		r.value = append(r.value, float64(v))
	}
	n := 0
	for _, t := range p.Tensors() {
		r.start[t.Name] = n
		n += t.Len()
	}
	return r
}

// product returns x·w + bias for expert e, w of len(x)×cols, without a bias if there is none of
// that name.
func (r *reference) product(x []float64, e int, w, bias string, cols int) []float64 {
	y := make([]float64, cols)
	for j := range y {
		if at, ok := r.start[bias]; ok {
			y[j] = r.value[at+e*cols+j]
		}
		for i, v := range x {
			y[j] += v * r.value[r.start[w]+(e*len(x)+i)*cols+j]
		}
	}
	return y
}

func (r *reference) answer(x []float64, e int) []float64 {
	if !r.gated {
		h := r.product(x, e, "w1", "b1", refHidden)
		for i := range h {
			h[i] = r.act(h[i])
		}
		return r.product(h, e, "w2", "b2", refDim)
	}
	h, up := r.product(x, e, "w_gate", "", refHidden), r.product(x, e, "w_up", "", refHidden)
	for i := range h {
		h[i] = r.act(h[i]) * up[i]
	}
	return r.product(h, e, "w_down", "", refDim)
}

// loss is Σ y·dy over rows of which half belong to each expert.
func (r *reference) loss(x, dy []float64) float64 {
	sum := 0.0
	n := len(x) / refDim
	for i := range n {
		y := r.answer(x[i*refDim:(i+1)*refDim], i*refExperts/n)
		for j, v := range y {
			sum += v * dy[i*refDim+j]
		}
	}
	return sum
}

// slopes returns the gradient of the loss with respect to at by central differences.
func (r *reference) slopes(at, x, dy []float64) []float64 {
	const h = 1e-5
	g := make([]float64, len(at))
	for i, v := range at {
		at[i] = v + h
		up := r.loss(x, dy)
		at[i] = v - h
		g[i] = (up - r.loss(x, dy)) / (2 * h)
		at[i] = v
	}
	return g
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func requireNear(t *testing.T, want []float64, got []float32, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i, v := range want {
		neartest.Number(t, v, float64(got[i]), 2e-5*max(1, math.Abs(v)), "%s: element %d", what, i)
	}
}

func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 2))
}

func random(r *rand.Rand, rows, cols int) blas32.General {
	m := blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: make([]float32, rows*cols)}
	for i := range m.Data {
		m.Data[i] = r.Float32()*4 - 2
	}
	return m
}

func TestAgainstFloat64(t *testing.T) {
	relu := func(x float64) float64 { return max(x, 0) }
	gelu := func(x float64) float64 { return x * math.Erfc(-x/math.Sqrt2) / 2 }
	silu := func(x float64) float64 { return x / (1 + math.Exp(-x)) }
	for name, c := range map[string]struct {
		kind  expert.Expert
		act   func(float64) float64
		gated bool
	}{
		"relu":         {expert.FFN{Hidden: refHidden}, relu, false},
		"gelu":         {expert.FFN{Hidden: refHidden, Activation: expert.GELU}, gelu, false},
		"gelu no bias": {expert.FFN{Hidden: refHidden, Activation: expert.GELU, NoBias: true}, gelu, false},
		"swiglu":       {expert.SwiGLU{Hidden: refHidden}, silu, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := seeded(t)
			g, err := c.kind.New(expert.Shape{Dim: refDim, Count: refExperts, Seed: r.Uint64()})
			require.NoError(t, err)
			p := g.Params()
			for i := range p.Value {
				p.Value[i] = r.Float32()*2 - 1
			}
			const n = 6
			x, dy := random(r, n, refDim), random(r, n, refDim)
			y, saved := g.Forward(x, expert.Rows{Experts: 2, Leaves: 1, Ends: []int{n / 2, n}})
			ref := newReference(p, c.act, c.gated)
			x64, dy64 := widen(x.Data), widen(dy.Data)
			for i := range n {
				requireNear(t, ref.answer(x64[i*refDim:(i+1)*refDim], i*2/n), y.Data[i*refDim:(i+1)*refDim], "answer")
			}
			dx := g.Backward(saved, dy)
			requireNear(t, ref.slopes(x64, x64, dy64), dx.Data, "gradient of the input")
			requireNear(t, ref.slopes(ref.value, x64, dy64), p.Grad.Total(), "gradient of the parameters")
		})
	}
}
