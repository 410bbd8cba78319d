// Package balancetest is the conformance suite of planners: what [balance.Planner] promises, as
// tests. Every planner runs it:
//
//	balancetest.Run(t, func() balance.Planner { return &myPlanner{} })
package balancetest

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
)

// Run tests a planner, of which build makes a new one with the same settings: on the problems of
// [Hostile] and on random ones.
func Run(t *testing.T, build func() balance.Planner) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r.check(suite{t, build, rand.New(rand.NewPCG(seed, 1))})
		})
	}
}

// rules are the tests, in an order in which each may rely on those before.
var rules = []struct {
	name  string
	check func(suite)
}{
	{"Name", suite.name},
	{"Valid", suite.valid},
	{"Unchanged", suite.unchanged},
	{"Same", suite.same},
	{"Owned", suite.owned},
}

// suite is a planner under test.
type suite struct {
	require.TestingT
	build func() balance.Planner
	rand  *rand.Rand
}

func (s suite) name() {
	p := s.build()
	name := p.String()
	require.Regexp(s, `^\S.*$`, name, "String, want one line")
	require.NotContains(s, name, "\n", "String, want one line")
	require.Equal(s, name, p.String(), "String, called again")
	require.Equal(s, name, s.build().String(), "String of another planner of the same settings")
}

// valid: an allocation is what the exchange accepts, and shares nothing where no rank may help.
func (s suite) valid() {
	for name, p := range s.problems() {
		require.NoError(s, p.Validate(), name)
		planner := s.build()
		for range 3 { // a planner may go by the past
			a := planner.Plan(p)
			require.NoError(s, a.Validate(p.Loads, p.Limits), "%s: %v", name, a)
		}
	}
}

// unchanged: a problem is the caller's.
func (s suite) unchanged() {
	for name, p := range s.problems() {
		was := clone(p)
		s.build().Plan(p)
		require.Equal(s, was, p, "%s: the problem after Plan", name)
	}
}

// same: planners of the same settings that have seen the same come to the same.
func (s suite) same() {
	one, other := s.build(), s.build()
	for name, p := range s.problems() {
		for range 2 {
			a, b := one.Plan(clone(p)), other.Plan(p)
			require.Equal(s, slices.Concat(alltoall.Allocation{}, a), slices.Concat(alltoall.Allocation{}, b), "%s: planned twice", name)
		}
	}
}

// owned: an allocation is the caller's, who may keep it and write to it.
func (s suite) owned() {
	planner := s.build()
	for name, p := range s.problems() {
		first := planner.Plan(p)
		was := slices.Clone(first)
		second := planner.Plan(p)
		require.Equal(s, was, slices.Clone(first), "%s: an allocation after the next Plan", name)
		want := slices.Clone(second)
		clear(first)
		require.Equal(s, want, slices.Clone(second), "%s: an allocation after the one before was overwritten", name)
	}
}

// clone copies a problem.
func clone(p *balance.Problem) *balance.Problem {
	q := *p
	l := *p.Loads
	l.Placement.First = slices.Clone(l.Placement.First)
	l.Leaves, l.Rows = slices.Clone(l.Leaves), slices.Clone(l.Rows)
	q.Loads, q.Costs.Row, q.Node = &l, slices.Clone(p.Costs.Row), slices.Clone(p.Node)
	return &q
}
