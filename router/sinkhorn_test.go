package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// TestSinkhornGoldens compares with Megatron-Core's matrices, relative to each of their elements.
func TestSinkhornGoldens(t *testing.T) {
	type golden struct {
		Name       string
		Tokens     int
		Experts    int
		K          int
		Logits     []float32
		Transport  []float32
		Assignment [][]int
	}
	ran := 0
	for _, c := range goldens[golden](t, "router.json") {
		if c.Name != "sinkhorn" {
			continue
		}
		ran++
		logits := dense(c.Tokens, c.Experts, c.Logits)
		got := dense(c.Tokens, c.Experts, make([]float32, len(c.Logits)))
		Sinkhorn{}.Transport(got, logits)
		for i, want := range c.Transport {
			require.InEpsilon(t, want, got.Data[i], 1e-6, "element %d", i)
		}
		g, err := Sinkhorn{K: c.K}.New(Shape{Dim: c.Tokens, Experts: c.Experts})
		require.NoError(t, err)
		copy(g.Params().Value, c.Logits)
		d, err := g.Route(identity(c.Tokens), Batch{Ends: []int{c.Tokens}, Train: true})
		require.NoError(t, err)
		for token, want := range c.Assignment {
			var got []int
			for e := range c.Experts {
				if find(d, token, e) >= 0 {
					got = append(got, e)
				}
			}
			slices.Sort(want)
			require.Equal(t, want, got, "token %d", token)
		}
	}
	require.Equal(t, 4, ran)
}

// TestSinkhornBalances checks the sums of rows and columns, and that collapsed logits are spread in
// training and not in evaluation.
func TestSinkhornBalances(t *testing.T) {
	const tokens, experts = 240, 6
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	logits := randomLogits(r, tokens, experts)
	for _, line := range logits {
		line[2] += 8 // every token's favourite
	}
	g := gateOf(t, Sinkhorn{K: 1}, logits)
	d, err := g.Route(identity(tokens), Batch{Ends: []int{tokens}, Train: true})
	require.NoError(t, err)
	require.LessOrEqual(t, slices.Max(d.Counts), 2*tokens/experts, "%v", d.Counts)
	for i, w := range d.Weight {
		e := slices.IndexFunc(d.Ends, func(end int) bool { return i < end })
		require.InDelta(t, 1/(1+math.Exp(-logits[d.Token[i]][e])), float64(w), 1e-6)
	}
	eval, err := g.Route(identity(tokens), Batch{Ends: []int{tokens}})
	require.NoError(t, err)
	require.Greater(t, eval.Counts[2], tokens*9/10)

	plan := dense(tokens, experts, make([]float32, tokens*experts))
	Sinkhorn{}.Transport(plan, dense(tokens, experts, g.Params().Value))
	for e := range experts {
		sum := 0.0
		for i := range tokens {
			sum += float64(plan.Data[i*experts+e])
		}
		require.InDelta(t, 1./experts, sum, 1e-4)
	}
}

// TestSinkhornOfFarLogits expects an end, and finite numbers, where Megatron's exponentials
// overflow.
func TestSinkhornOfFarLogits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, scale := range []float32{0, 30, 100, 1000, 1e38} {
		logits := dense(64, 8, make([]float32, 64*8))
		for i := range logits.Data {
			logits.Data[i] = scale * (2*r.Float32() - 1)
		}
		plan := dense(64, 8, make([]float32, 64*8))
		Sinkhorn{}.Transport(plan, logits)
		require.Equal(t, -1, firstInfinite(plan.Data), "scale %v", scale)
	}
	Sinkhorn{}.Transport(dense(0, 8, nil), dense(0, 8, nil))
}

// TestSinkhornWorkIsBounded: logits of any size, and a favourite of all tokens, end within 220
// iterations, with rows that sum to 1/T, even columns and even loads.
func TestSinkhornWorkIsBounded(t *testing.T) {
	const tokens, experts = 512, 16
	r := rand.New(rand.NewPCG(1, 1))
	scales := []float64{0.1, 1, 3, 8, 12, 20, 50, 300, 1e4, 1e6, 1e9, 1e30, 3e37}
	if testing.Short() {
		scales = []float64{1, 50, 3e37}
	}
	for _, scale := range scales {
		for _, favour := range []float64{0, 4, 40} { // of the first expert, in units of scale
			if scale*favour > 1e38 {
				continue
			}
			logits := randomLogits(r, tokens, experts)
			for i := range logits {
				logits[i][0] += favour / 2
				for e := range logits[i] {
					logits[i][e] *= scale / 2
				}
			}
			var s sinkhorn
			flat := dense(tokens, experts, make([]float32, tokens*experts))
			for i, line := range logits {
				for e, v := range line {
					flat.Data[i*experts+e] = float32(v)
				}
			}
			s.solve(tokens, experts, func(i int) []float32 { return mat.Row(flat, i) })
			require.LessOrEqual(t, s.iterations, 220, "scale %v, favour %v", scale, favour)
			plan := dense(tokens, experts, make([]float32, tokens*experts))
			Sinkhorn{}.Transport(plan, flat)
			off, columns := 0.0, make([]float64, experts)
			for i := range tokens {
				total := 0.0
				for e, v := range mat.Row(plan, i) {
					columns[e] += float64(v)
					total += float64(v)
				}
				require.InDelta(t, 1./tokens, total, 1e-3/tokens)
			}
			for _, v := range columns {
				off += math.Abs(v*experts-1) / experts
			}
			require.Less(t, off, 0.1, "scale %v, favour %v: %v", scale, favour, columns)
			g := gateOf(t, Sinkhorn{K: 1}, logits)
			d, err := g.Route(identity(tokens), Batch{Ends: []int{tokens}, Train: true})
			require.NoError(t, err)
			if scale >= 1 { // below, tokens are too alike
				require.Less(t, slices.Max(d.Counts), tokens/experts*3/2, "scale %v, favour %v: %v", scale, favour, d.Counts)
			}
		}
	}
}

// TestFarSinkhornIsTheLimit compares the two ways of balancing where both come to their end.
func TestFarSinkhornIsTheLimit(t *testing.T) {
	const tokens, experts = 60, 5
	flat := dense(tokens, experts, nil)
	for _, line := range randomLogits(rand.New(rand.NewPCG(2, 2)), tokens, experts) {
		for _, v := range line {
			flat.Data = append(flat.Data, float32(2*v))
		}
	}
	near := dense(tokens, experts, make([]float32, tokens*experts))
	Sinkhorn{}.Transport(near, flat)
	var s sinkhorn
	s.isFar = true
	s.far.solve(tokens, experts, 30, func(i int) []float32 { return mat.Row(flat, i) })
	for i := range tokens {
		got := make([]float32, experts)
		s.far.transport(got, mat.Row(flat, i))
		for e, v := range mat.Row(near, i) {
			require.InDelta(t, v, got[e], 0.01/tokens)
		}
	}
}

// gateOf returns the gate of a router whose linear gate gives the logits to the unit vectors.
func gateOf(t testing.TB, r Router, logits [][]float64) Gate {
	g, err := r.New(Shape{Dim: len(logits), Experts: len(logits[0])})
	require.NoError(t, err)
	for i, line := range logits {
		for e, v := range line {
			g.Params().Value[i*len(line)+e] = float32(v)
		}
	}
	return g
}

// BenchmarkBalanced times decisions without the gate's product.
func BenchmarkBalanced(b *testing.B) {
	const tokens, experts = 8192, 64
	r := rand.New(rand.NewPCG(1, 2))
	logits := dense(tokens, experts, make([]float32, tokens*experts))
	for i := range logits.Data {
		logits.Data[i] = float32(r.NormFloat64())
	}
	for _, config := range []Router{Sinkhorn{K: 1}, Sinkhorn{K: 2}, BASE{}} {
		b.Run(fmt.Sprintf("%T%+v", config, config), func(b *testing.B) {
			gate, err := config.New(Shape{Dim: 1, Experts: experts})
			require.NoError(b, err)
			g := gate.(LogitRouter)
			b.ReportAllocs()
			for b.Loop() {
				d, err := g.RouteLogits(logits, Batch{Ends: []int{tokens}, Train: true})
				if err != nil {
					b.Fatal(err)
				}
				g.Release(d)
			}
			b.ReportMetric(float64(tokens)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

// TestLeastSumKeepsColumnsFinite: a column without weight gets the largest factor there is.
func TestLeastSumKeepsColumnsFinite(t *testing.T) {
	s := sinkhorn{cols: []float64{1, 1, 1, 1}, sums: []float64{0, sinkhornLeastSum, 1, 0.25}}
	moved := s.scaleCols()
	want := []float64{0.25 / sinkhornLeastSum, 0.125 / sinkhornLeastSum, 0.25, 1}
	for i := range want {
		require.InEpsilon(t, want[i], s.cols[i], 1e-6)
	}
	require.InEpsilon(t, (want[0]+want[1]-2+0.75)/4, moved, 1e-6)
}
