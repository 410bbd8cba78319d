package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/neartest"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// problem is the arguments of a product.
type problem struct {
	tA, tB  blas.Transpose
	a, b, c blas32.General
	how     start
}

func (p problem) String() string {
	return fmt.Sprintf("tA=%c tB=%c m=%d n=%d k=%d lda=%d ldb=%d ldc=%d start=%d", p.tA, p.tB,
		p.c.Rows, p.c.Cols, viewOf(p.tA, p.a, "a").cols, p.a.Stride, p.b.Stride, p.c.Stride, p.how)
}

func newProblem(r *rand.Rand, m, k, n int) problem {
	p := problem{tA: transposes[r.IntN(2)], tB: transposes[r.IntN(2)], how: start(r.IntN(3))}
	if k > blockDepth && p.how == onC {
		p.how = fromC
	}
	gap := func() int { return r.IntN(2) * r.IntN(9) }
	p.a, p.b = operand(r, p.tA, m, k, gap()), operand(r, p.tB, k, n, gap())
	p.c = matrix(r, m, n, gap())
	return p
}

// on returns c after the product on the set.
func (p problem) on(s *set) blas32.General {
	c := clone(p.c)
	p.into(s, c)
	return c
}

// into computes the product into c on the set.
func (p problem) into(s *set, c blas32.General) {
	s.multiply(viewOf(p.tA, p.a, "a"), viewOf(p.tB, p.b, "b"), p.how, viewOf(blas.NoTrans, c, "c"))
}

// byDefinition returns c after the product by the definition.
func (p problem) byDefinition() blas32.General {
	c := clone(p.c)
	reference(viewOf(p.tA, p.a, "a"), viewOf(p.tB, p.b, "b"), p.how, viewOf(blas.NoTrans, c, "c"))
	return c
}

// side draws a dimension: mostly small, at times beyond a block.
func side(r *rand.Rand, large int) int {
	if r.IntN(8) == 0 {
		return 1 + r.IntN(large)
	}
	return 1 + r.IntN(70)
}

// TestSetsMatchDefinition also finds writes between the rows of c, which hold NaN there.
func TestSetsMatchDefinition(t *testing.T) {
	r := seeded(t)
	for range 300 {
		p := newProblem(r, side(r, 150), side(r, 2*blockDepth+40), side(r, blockWidth+100))
		want := p.byDefinition()
		for _, s := range runnable() {
			requireBits(t, want.Data, p.on(s).Data, "%s %v", s.name, p)
		}
	}
}

// TestOldContentsDoNotMatter multiplies into memory full of NaN.
func TestOldContentsDoNotMatter(t *testing.T) {
	r := seeded(t)
	for range 50 {
		p := newProblem(r, side(r, 60), side(r, 60), side(r, 60))
		p.how = fromZero
		want := p.byDefinition()
		for i := range p.c.Data {
			p.c.Data[i] = float32(math.NaN())
		}
		for _, s := range runnable() {
			requireBits(t, want.Data, p.on(s).Data, "%s %v", s.name, p)
		}
	}
}

// TestAddIsAProductAndThenASum goes beyond a block's depth too.
func TestAddIsAProductAndThenASum(t *testing.T) {
	r := seeded(t)
	for range 100 {
		p := newProblem(r, side(r, 100), side(r, 2*blockDepth+40), side(r, 100))
		if r.IntN(10) == 0 {
			p = newProblem(r, 5, 0, 3)
		}
		p.how = fromZero
		product := clone(p.c)
		for i := range product.Rows {
			clear(product.Data[i*product.Stride:][:product.Cols])
		}
		Gemm(p.tA, p.tB, p.a, p.b, 0, product)
		want, got := clone(p.c), clone(p.c)
		for i := range want.Rows {
			for j := range want.Cols {
				want.Data[i*want.Stride+j] += product.Data[i*product.Stride+j]
			}
		}
		Add(p.tA, p.tB, p.a, p.b, got)
		requireBits(t, want.Data, got.Data, "%v", p)
	}
}

// TestEverySmallShape goes through every remainder of rows and columns against every tile.
func TestEverySmallShape(t *testing.T) {
	r := seeded(t)
	for m := 1; m <= 26; m++ {
		for n := 1; n <= 70; n++ {
			p := newProblem(r, m, 1+r.IntN(20), n)
			want := p.byDefinition()
			for _, s := range runnable() {
				requireBits(t, want.Data, p.on(s).Data, "%s %v", s.name, p)
			}
		}
	}
}

func TestInfAndNaN(t *testing.T) {
	r := seeded(t)
	odd := []float32{float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
		float32(math.Copysign(0, -1)), math.SmallestNonzeroFloat32, math.MaxFloat32}
	spoil := func(m blas32.General) {
		for range 3 {
			m.Data[r.IntN(m.Rows)*m.Stride+r.IntN(m.Cols)] = odd[r.IntN(len(odd))]
		}
	}
	for range 300 {
		p := newProblem(r, side(r, 60), side(r, 60), side(r, 60))
		spoil(p.a)
		spoil(p.b)
		spoil(p.c)
		want := p.byDefinition()
		for _, s := range runnable() {
			requireBits(t, want.Data, p.on(s).Data, "%s %v", s.name, p)
		}
	}
}

// TestNegativeZero shows that a sum starts at +0, which -0 does not change.
func TestNegativeZero(t *testing.T) {
	one := blas32.General{Rows: 1, Cols: 1, Stride: 1, Data: []float32{1}}
	zero := blas32.General{Rows: 1, Cols: 1, Stride: 1, Data: []float32{float32(math.Copysign(0, -1))}}
	for _, s := range runnable() {
		p := problem{tA: blas.NoTrans, tB: blas.NoTrans, a: one, b: zero, c: zero}
		requireBits(t, []float32{0}, p.on(s).Data)
		p.how = fromC
		requireBits(t, zero.Data, p.on(s).Data)
	}
}

// TestRowAlone computes single rows of a product as products of their own.
func TestRowAlone(t *testing.T) {
	onSets(t, func(t *testing.T, s *set) {
		r := seeded(t)
		p := newProblem(r, 100, 300, 77)
		p.tA, p.a = blas.NoTrans, matrix(r, 100, 300, 3)
		all := p.on(s)
		for i := range p.c.Rows {
			alone := p
			alone.a = blas32.General{Rows: 1, Cols: 300, Stride: p.a.Stride, Data: p.a.Data[i*p.a.Stride:]}
			alone.c = blas32.General{Rows: 1, Cols: 77, Stride: 77, Data: p.c.Data[i*p.c.Stride:][:77]}
			requireBits(t, all.Data[i*all.Stride:][:77], alone.on(s).Data, "row %d", i)
		}
	})
}

// TestMisaligned moves every operand through the sixteen places of a float in a cache line.
func TestMisaligned(t *testing.T) {
	r := seeded(t)
	for shift := range 16 {
		p := newProblem(r, 25, 19, 67)
		want := p.byDefinition()
		for _, m := range []*blas32.General{&p.a, &p.b, &p.c} {
			m.Data = append(make([]float32, shift, shift+len(m.Data)), m.Data...)[shift:]
		}
		for _, s := range runnable() {
			requireBits(t, want.Data, p.on(s).Data, "%s shift=%d %v", s.name, shift, p)
		}
	}
}

func TestConcurrentCalls(t *testing.T) {
	r := seeded(t)
	p := newProblem(r, 100, 100, 100)
	for _, s := range runnable() {
		want := p.byDefinition()
		got := make([]blas32.General, 8)
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() { got[i] = p.on(s) })
		}
		wg.Wait()
		for _, c := range got {
			requireBits(t, want.Data, c.Data, s.name)
		}
	}
}

func TestGemmOfEmpty(t *testing.T) {
	r := seeded(t)
	for m := range 3 {
		for k := range 3 {
			for n := range 3 {
				for _, beta := range []float32{0, 1} {
					a, b, c := matrix(r, m, k, 0), matrix(r, k, n, 0), matrix(r, m, n, 2)
					want := clone(c)
					reference(viewOf(blas.NoTrans, a, "a"), viewOf(blas.NoTrans, b, "b"), start(beta), viewOf(blas.NoTrans, want, "c"))
					Gemm(blas.NoTrans, blas.NoTrans, a, b, beta, c)
					neartest.Equal(t, noNaN(want.Data), noNaN(c.Data), 1e-6)
				}
			}
		}
	}
}

// noNaN returns x with NaN as 0, for assertions that NaN would always fail.
func noNaN(x []float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		if v == v {
			y[i] = v
		}
	}
	return y
}

// TestGemmNearDefinition is what every build keeps, OpenBLAS included.
func TestGemmNearDefinition(t *testing.T) {
	r := seeded(t)
	for range 100 {
		p := newProblem(r, side(r, 150), side(r, 300), side(r, 150))
		c := clone(p.c)
		beta := float32(0)
		if p.how != fromZero {
			beta, p.how = 1, fromC
		}
		Gemm(p.tA, p.tB, p.a, p.b, beta, c)
		want := p.byDefinition()
		neartest.Equal(t, noNaN(want.Data), noNaN(c.Data), 1e-3, "%v", p)
		if Exact {
			requireBits(t, want.Data, c.Data, "%v", p)
		}
	}
}

func TestGemmPanics(t *testing.T) {
	r := seeded(t)
	m := func(rows, cols int) blas32.General { return matrix(r, rows, cols, 0) }
	short := m(3, 4)
	short.Data = short.Data[:11]
	require.PanicsWithValue(t, "gemm: 2×3 times 4×5 into 2×5",
		func() { Gemm(blas.NoTrans, blas.NoTrans, m(2, 3), m(4, 5), 0, m(2, 5)) })
	require.PanicsWithValue(t, "gemm: beta is 2, must be 0 or 1",
		func() { Gemm(blas.NoTrans, blas.NoTrans, m(2, 3), m(3, 5), 2, m(2, 5)) })
	require.PanicsWithValue(t, "gemm: b has 11 elements, too few for 3×4 with stride 4",
		func() { Gemm(blas.NoTrans, blas.NoTrans, m(2, 3), short, 0, m(2, 4)) })
	require.PanicsWithValue(t, "gemm: transpose of a is 'x'",
		func() { Gemm('x', blas.NoTrans, m(2, 3), m(3, 4), 0, m(2, 4)) })
}
