// Package routertest is the conformance suite of routers: what [router.Gate] promises, as tests.
// Every router runs it:
//
//	routertest.Run(t, func() router.Router { return router.TopK{K: 2} })
package routertest

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// dim is the number of columns of the suite's tokens.
const dim = 6

// Trait is something that a router does otherwise than most, by design; the tests that check the
// rule leave it out.
type Trait int

const (
	// TiesElsewhere says that equal scores need not all go to the lowest experts: a rule that
	// spreads tokens evenly, or over subsets of the experts.
	TiesElsewhere Trait = iota
	// TokensTogether says that a token's experts depend on the other tokens of its token group.
	TokensTogether
)

// Run tests the router that configure returns. It must accept some number of experts from 1 to 8,
// and is tested with all of those that it accepts; the least of them is k = E for a router whose
// tokens choose k experts. Expert bias, or anything else that breaks ties between equal logits,
// must be off.
//
// The declarations of a [router.BoundedRouter] and of a [router.WeightedRouter] are checked too.
//
// Beside what [router.Gate] says it asks that tokens with equal logits for all experts go to the
// first ones (see [TiesElsewhere]), and that of equal tokens an expert drops the last ones.
//
// Gates without parameters are taken to have no scores: equal, NaN and infinite ones are not tried
// on them.
func Run(t *testing.T, configure func() router.Router, traits ...Trait) {
	sizes := accepted(configure)
	require.NotEmpty(t, sizes, "the router accepts no number of experts from 1 to 8")
	tests := []struct {
		name string
		run  func(*testing.T, suite)
	}{
		{"Valid", testValid},
		{"ZeroTokens", testZeroTokens},
		{"Deterministic", testDeterministic},
		{"Ties", testTies},
		{"NotFinite", testNotFinite},
		{"GroupsIndependent", testGroupsIndependent},
		{"RowsIndependent", testRowsIndependent},
		{"Stride", testStride},
		{"Leaves", testLeaves},
		{"Parameters", testParameters},
		{"State", testState},
		{"Padding", testPadding},
		{"LossesApart", testLossesApart},
		{"Frozen", testFrozen},
		{"InFlight", testInFlight},
		{"Gradient", testGradient},
	}
	batches := 0
	for _, experts := range sizes {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s/experts=%d", test.name, experts), func(t *testing.T) {
				seed := rand.Uint64()
				t.Logf("seed %d", seed)
				test.run(t, suite{configure, traits, experts, seed, rand.New(rand.NewPCG(seed, 1)), &batches})
			})
		}
	}
}

// accepted returns the numbers of experts that the router accepts.
func accepted(configure func() router.Router) (sizes []int) {
	for _, n := range []int{1, 2, 3, 5, 8} {
		if _, err := configure().New(router.Shape{Dim: dim, Experts: n}); err == nil {
			sizes = append(sizes, n)
		}
	}
	return sizes
}

// suite is what each test starts from.
type suite struct {
	configure func() router.Router
	traits    []Trait
	experts   int
	seed      uint64
	rand      *rand.Rand
	batches   *int // routed by all tests, of which each gets the next number
}

// has tells whether the router has a trait.
func (s suite) has(t Trait) bool { return slices.Contains(s.traits, t) }

// gate returns a new gate; all of a test are equal.
func (s suite) gate(t *testing.T) router.Gate {
	g, err := s.configure().New(router.Shape{Dim: dim, Experts: s.experts, Seed: s.seed})
	require.NoError(t, err)
	return g
}

// tokens returns random tokens with logits of order one. No element is so small that a step of the
// gradient's test changes its sign.
func (s suite) tokens(n int) blas32.General {
	x := matrix(n, dim)
	for i := range x.Data {
		v := s.rand.NormFloat64()
		x.Data[i] = float32(v + math.Copysign(2*step, v))
	}
	return x
}

// matrix returns zeros.
func matrix(rows, cols int) blas32.General {
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: make([]float32, rows*cols)}
}

// rows returns the rows [begin, end) of x, which they alias.
func rows(x blas32.General, begin, end int) blas32.General {
	x.Rows, x.Data = end-begin, x.Data[begin*x.Stride:end*x.Stride]
	return x
}

// batch describes a batch of its own number.
func (s suite) batch(ends []int) router.Batch {
	*s.batches++
	return router.Batch{Ends: ends, Train: true, Micro: *s.batches}
}

// route routes x, checks what is true of every decision, and returns a copy that outlives Backward.
func (s suite) route(t *testing.T, g router.Gate, x blas32.General, ends []int) (d *router.Decision, kept router.Decision) {
	d, err := g.Route(x, s.batch(ends))
	require.NoError(t, err)
	require.NoError(t, d.Validate())
	return d, copyOf(d)
}

// copyOf returns a copy of what a decision says.
func copyOf(d *router.Decision) router.Decision {
	return router.Decision{
		Assignment: d.Assignment.Clone(), GroupLoss: slices.Clone(d.GroupLoss), Losses: maps.Clone(d.Losses),
		Counts: slices.Clone(d.Counts), GroupCapacity: slices.Clone(d.GroupCapacity), Dropped: d.Dropped,
	}
}

// entry is an assignment's entry, with its weight's bits.
type entry struct {
	token, expert int
	weight        float32
}

// entriesOf returns the entries of the tokens [begin, end), numbered from begin.
func entriesOf(a *router.Assignment, begin, end int) []entry {
	list := []entry{}
	for e := range a.Experts {
		from, to := a.Of(router.ExpertID(e))
		for i := from; i < to; i++ {
			if t := int(a.Token[i]); t >= begin && t < end {
				list = append(list, entry{t - begin, e, a.Weight[i]})
			}
		}
	}
	return list
}

// gradient returns a random gradient for a decision.
func (s suite) gradient(d *router.Decision) router.Gradient {
	g := router.Gradient{DX: matrix(d.Tokens, dim)}
	for range d.Weight {
		g.Weights = append(g.Weights, float32(s.rand.NormFloat64()))
	}
	for range d.GroupLoss {
		g.LossScale = append(g.LossScale, s.rand.Float32()+0.5)
	}
	return g
}
