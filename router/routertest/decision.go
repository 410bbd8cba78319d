package routertest

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/router"
)

// testValid checks what a decision says of itself, for token groups of many sizes.
func testValid(t *testing.T, s suite) {
	for _, ends := range [][]int{{1}, {40}, {7, 7, 20, 40}, {0, 3, 3}, {1, 2, 3, 4}} {
		n := ends[len(ends)-1]
		_, d := s.route(t, s.gate(t), s.tokens(n), ends)
		require.Equal(t, n, d.Tokens)
		require.Equal(t, s.experts, d.Experts)
		require.Len(t, d.GroupLoss, len(ends))
		require.Len(t, d.Counts, s.experts)
		chosen := 0
		for e, count := range d.Counts {
			begin, end := d.Of(router.ExpertID(e))
			require.GreaterOrEqual(t, count, end-begin, "expert %d holds more than chose it", e)
			chosen += count
		}
		require.Equal(t, len(d.Token)+d.Dropped, chosen, "a choice is kept or dropped")
		for _, w := range d.Weight {
			require.False(t, math.IsNaN(float64(w)) || math.IsInf(float64(w), 0) || w < 0, "weight %v", w)
		}
		checkLosses(t, &d, ends)
		s.checkCapacity(t, &d, ends)
		s.checkWeights(t, &d)
	}
}

// checkWeights compares the sum of each token's weights with the bounds that the router declares.
func (s suite) checkWeights(t *testing.T, d *router.Decision) {
	declared, ok := s.configure().(router.WeightedRouter)
	if !ok {
		return
	}
	least, most := declared.WeightSum(s.experts)
	sums := make([]float64, d.Tokens)
	for i, token := range d.Token {
		sums[token] += float64(d.Weight[i])
	}
	for token, sum := range sums {
		require.LessOrEqual(t, sum, most+1e-6*most, "weights of token %d", token)
		if d.Dropped == 0 {
			require.GreaterOrEqual(t, sum, least-1e-6*least, "weights of token %d", token)
		}
	}
}

// checkLosses compares the losses by name with those by token group.
func checkLosses(t *testing.T, d *router.Decision, ends []int) {
	byName, byGroup, begin := 0.0, 0.0, 0
	for _, v := range d.Losses {
		byName += v
	}
	for g, end := range ends {
		byGroup += d.GroupLoss[g] * float64(end-begin) / float64(max(d.Tokens, 1))
		begin = end
	}
	neartest.Number(t, byGroup, byName, 1e-9*(1+math.Abs(byGroup)), "losses by name and by group")
}

// checkCapacity compares each token group's loads with the capacity that the decision states, and
// that with the bound that the router declares.
func (s suite) checkCapacity(t *testing.T, d *router.Decision, ends []int) {
	bound, ok := s.configure().(router.BoundedRouter)
	begin := 0
	for g, end := range ends {
		room := math.MaxInt
		if ok {
			room = bound.Bound(end-begin, s.experts, true)
		}
		if len(d.GroupCapacity) != 0 {
			require.LessOrEqual(t, d.GroupCapacity[g], room, "capacity of group %d", g)
			room = d.GroupCapacity[g]
		}
		load := make([]int, s.experts)
		for _, e := range entriesOf(&d.Assignment, begin, end) {
			load[e.expert]++
			require.LessOrEqual(t, load[e.expert], room, "group %d, expert %d", g, e.expert)
		}
		begin = end
	}
}

// testZeroTokens routes batches without tokens, and takes them back.
func testZeroTokens(t *testing.T, s suite) {
	for _, ends := range [][]int{nil, {0}, {0, 0, 0}} {
		g := s.gate(t)
		for _, x := range []blas32.General{{}, matrix(0, dim)} {
			d, kept := s.route(t, g, x, ends)
			require.Empty(t, kept.Token)
			require.Len(t, kept.Ends, s.experts)
			require.Equal(t, make([]int, s.experts), kept.Counts)
			grad := s.gradient(d)
			grad.FirstLeaf = 0
			require.NoError(t, g.Backward(d, x, grad))
			if p := g.Params(); p != nil {
				p.Grad.Reset()
			}
		}
	}
}

// testDeterministic compares two gates, and one with itself after it has used its memory again.
func testDeterministic(t *testing.T, s suite) {
	x, ends := s.tokens(33), []int{10, 33}
	a, b := s.gate(t), s.gate(t)
	if a.Params() != nil {
		require.Equal(t, a.Params().Value, b.Params().Value)
	}
	_, want := s.route(t, a, x, ends)
	_, got := s.route(t, b, x, ends)
	require.Equal(t, want, got)
	for _, n := range []int{50, 3, 33} {
		other := s.tokens(n)
		d, _ := s.route(t, b, other, []int{n / 2, n})
		require.NoError(t, b.Backward(d, other, s.gradient(d)))
		if p := b.Params(); p != nil {
			p.Grad.Reset()
		}
		d, got = s.route(t, b, x, ends)
		require.Equal(t, want, got)
		require.NoError(t, b.Backward(d, x, s.gradient(d)))
		if p := b.Params(); p != nil {
			p.Grad.Reset()
		}
	}
}

// testTies routes tokens of zeros, which a gate without bias scores alike: all choose the first
// experts.
func testTies(t *testing.T, s suite) {
	g := s.gate(t)
	if g.Params() == nil {
		t.Skip("no scores")
	}
	if s.has(TiesElsewhere) {
		t.Skip("ties go elsewhere")
	}
	const n = 9
	_, d := s.route(t, g, matrix(n, dim), []int{n})
	k := (len(d.Token) + d.Dropped) / n
	want := make([]int, s.experts)
	for e := range k {
		want[e] = n
	}
	require.Equal(t, want, d.Counts)
	for e := range k {
		begin, _ := d.Of(router.ExpertID(e))
		require.Zero(t, d.Token[begin], "equal tokens are dropped from the last on")
	}
}

// testNotFinite expects an error that gives the token's row, in whatever words, and a gate that
// works on.
func testNotFinite(t *testing.T, s suite) {
	g := s.gate(t)
	if g.Params() == nil {
		t.Skip("no scores")
	}
	x, ends := s.tokens(12), []int{4, 4, 12}
	_, want := s.route(t, g, x, ends)
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat32} {
		token := s.rand.IntN(x.Rows)
		row, saved := x.Data[token*dim:(token+1)*dim], [dim]float32{}
		copy(saved[:], row)
		for i := range row {
			row[i] = float32(bad)
		}
		_, err := g.Route(x, s.batch(ends))
		copy(row, saved[:])
		if bad == math.MaxFloat32 && err == nil {
			continue // finite tokens may, but need not, have infinite scores
		}
		require.Error(t, err, "%v", bad)
		require.Regexp(t, fmt.Sprintf(`\b%d\b`, token), err.Error(), "the error must give the token's row in the batch")
	}
	_, got := s.route(t, g, x, ends)
	require.Equal(t, want, got)
}
