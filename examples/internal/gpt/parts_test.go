package gpt

import (
	"testing"

	"github.com/stretchr/testify/require"
)

var tiny = Config{Seq: 5, Dim: 6, Heads: 2, Layers: 3, Hidden: 8, Seed: 3}

func TestNormGradient(t *testing.T) {
	r := seeded(t)
	x, dy := randomMatrix(r, 4, 7), randomMatrix(r, 4, 7)
	n := norm{gain: randomVec(r, 7), bias: randomVec(r, 7)}
	gain, bias := wide(n.gain), wide(n.bias)
	y := zeros(4, 7)
	n.forward(y, x)
	requireRows(t, refNorm(wideMatrix(x), gain, bias), y)

	dx, grad := zeros(4, 7), norm{gain: make([]float32, 7), bias: make([]float32, 7)}
	n.backward(dx, dy, x, grad)
	f := func() float64 { return weigh(refNorm(wideMatrix(x), gain, bias), dy) }
	checkGradient(t, r, "gain", f, gain, grad.gain)
	checkGradient(t, r, "bias", f, bias, grad.bias)
	checkRows(t, r, "x", x, func(x table) float64 { return weigh(refNorm(x, gain, bias), dy) }, dx)
}

func TestNormOfConstantRow(t *testing.T) {
	n := norm{gain: []float32{1, 1}, bias: []float32{5, 6}}
	x, y := zeros(1, 2), zeros(1, 2)
	n.forward(y, x)
	require.Equal(t, []float32{5, 6}, y.Data)
}

func TestLinearGradient(t *testing.T) {
	r := seeded(t)
	x, w, dy := randomMatrix(r, 5, 4), randomMatrix(r, 4, 3), randomMatrix(r, 5, 3)
	b := randomVec(r, 3)
	y := zeros(5, 3)
	linear(y, x, w, b)
	requireRows(t, refLinear(wideMatrix(x), wideMatrix(w), wide(b)), y)

	dx, dw, db := zeros(5, 4), zeros(4, 3), make([]float32, 3)
	linearBackward(dx, dw, db, dy, x, w)
	bias := wide(b)
	checkGradient(t, r, "b", func() float64 { return weigh(refLinear(wideMatrix(x), wideMatrix(w), bias), dy) }, bias, db)
	checkRows(t, r, "x", x, func(x table) float64 { return weigh(refLinear(x, wideMatrix(w), bias), dy) }, dx)
	checkRows(t, r, "w", w, func(w table) float64 { return weigh(refLinear(wideMatrix(x), w, bias), dy) }, dw)
}

func TestEmbeddingGradient(t *testing.T) {
	r := seeded(t)
	e := newEmbedding(tiny, newInitializer(1))
	tokens := append(randomBytes(r, 8), 7, 7) // a byte twice, over two sequences
	x := zeros(10, tiny.Dim)
	e.forward(x, tokens, 0)
	p := refOf(e.set)
	requireRows(t, refEmbedding(p, tokens, tiny.Seq), x)

	dx, grad := randomMatrix(r, 10, tiny.Dim), make([]float32, len(e.set.Value))
	e.backward(dx, tokens, grad)
	checkSet(t, r, p, func() float64 { return weigh(refEmbedding(p, tokens, tiny.Seq), dx) }, grad)
}

func TestAttentionGradient(t *testing.T) {
	for _, both := range []bool{false, true} {
		c := tiny
		c.Bidirectional = both
		testAttentionGradient(t, c)
	}
}

func testAttentionGradient(t *testing.T, c Config) {
	r := seeded(t)
	a := newAttention(c, newInitializer(1))
	shake(r, a.set)
	x, dy := randomMatrix(r, 20, tiny.Dim), randomMatrix(r, 20, tiny.Dim)
	y := zeros(20, tiny.Dim)
	a.resize(20)
	a.forward(y, x, 0, 20)
	p := refOf(a.set)
	ref := func(x table) table { return refAttention(p, x, c) }
	requireRows(t, ref(wideMatrix(x)), y)

	grad, other := make([]float32, len(a.set.Value)), make([]float32, len(a.set.Value))
	d := clone(dy)
	a.backward(d, x, leaf{begin: 0, end: 10}, grad)
	a.backward(d, x, leaf{begin: 10, end: 20}, other)
	checkRows(t, r, "x", x, func(x table) float64 { return weigh(ref(x), dy) }, d)
	blas32Sum(grad, other)
	checkSet(t, r, p, func() float64 { return weigh(ref(wideMatrix(x)), dy) }, grad)
}

func blas32Sum(sum, x []float32) {
	for i := range sum {
		sum[i] += x[i]
	}
}

func TestFeedForwardGradient(t *testing.T) {
	r := seeded(t)
	f := newFeedForward(tiny, newInitializer(1))
	shake(r, f.set)
	x, dy := randomMatrix(r, 10, tiny.Dim), randomMatrix(r, 10, tiny.Dim)
	y := zeros(10, tiny.Dim)
	f.resize(10)
	f.forward(y, x, 0, 10)
	p := refOf(f.set)
	requireRows(t, refFeedForward(p, wideMatrix(x)), y)

	grad := make([]float32, len(f.set.Value))
	d := clone(dy)
	f.backward(d, x, leaf{begin: 0, end: 10}, grad)
	checkRows(t, r, "x", x, func(x table) float64 { return weigh(refFeedForward(p, x), dy) }, d)
	checkSet(t, r, p, func() float64 { return weigh(refFeedForward(p, wideMatrix(x)), dy) }, grad)
}

func TestHeadGradient(t *testing.T) {
	testHeadGradient(t, nil)
	testHeadGradient(t, []bool{true, false, false, true, true, false, true, false, false, true})
}

// testHeadGradient is of ten rows, all or some of which count.
func testHeadGradient(t *testing.T, scored []bool) {
	r := seeded(t)
	h := newHead(tiny, newInitializer(1))
	shake(r, h.set)
	x, targets := randomMatrix(r, 10, tiny.Dim), randomBytes(r, 10)
	h.resize(10)
	loss := h.forward(x, 0, 10, targets, scored)
	p := refOf(h.set)
	require.InDelta(t, refHead(p, wideMatrix(x), targets, scored), loss, 1e-4)

	const share = 0.25
	dx, grad := zeros(10, tiny.Dim), make([]float32, len(h.set.Value))
	h.backward(dx, x, leaf{begin: 0, end: 10}, targets, scored, share, grad)
	checkRows(t, r, "x", x, func(x table) float64 { return share * refHead(p, x, targets, scored) }, dx)
	checkSet(t, r, p, func() float64 { return share * refHead(p, wideMatrix(x), targets, scored) }, grad)
}

func TestSoftmaxOfLargeScores(t *testing.T) {
	x := []float32{1000, 1000, -1000}
	largest, sum := softmax(x)
	require.Equal(t, float32(1000), largest)
	require.Equal(t, float32(2), sum)
	require.Equal(t, []float32{0.5, 0.5, 0}, x)
}
