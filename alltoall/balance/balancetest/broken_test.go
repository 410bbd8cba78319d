package balancetest

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
)

// planner is a planner with a fault.
type planner struct {
	name func() string
	plan func(p *balance.Problem) alltoall.Allocation
}

func (b planner) String() string {
	if b.name != nil {
		return b.name()
	}
	return "whole"
}

// Plan has all rows of the first expert computed by the next rank, if it may, or is broken.
func (b planner) Plan(p *balance.Problem) alltoall.Allocation {
	if b.plan != nil {
		return b.plan(p)
	}
	return whole(p)
}

func whole(p *balance.Problem) alltoall.Allocation {
	l := p.Loads
	if l.Placement.Experts() == 0 {
		return nil
	}
	home := l.Placement.Home(0)
	helper := (home + 1) % l.Placement.Ranks()
	if helper == home || p.Limits.Slots == 0 || p.Limits.Rows > 0 || l.TotalLeaves() == 0 {
		return nil
	}
	return alltoall.Allocation{{Expert: 0, Rank: helper, First: 0, End: l.TotalLeaves()}}
}

// broken has planners by what is wrong with them: the rule that finds it, and what that says.
func broken() map[string]struct {
	rule, says string
	build      func() balance.Planner
} {
	calls := 0
	changed := func(change func(p *balance.Problem, a alltoall.Allocation) alltoall.Allocation) func() balance.Planner {
		return func() balance.Planner {
			return planner{plan: func(p *balance.Problem) alltoall.Allocation {
				if a := whole(p); len(a) > 0 {
					return change(p, a)
				}
				return nil
			}}
		}
	}
	return map[string]struct {
		rule, says string
		build      func() balance.Planner
	}{
		"no name":       {"Name", "want one line", func() balance.Planner { return planner{name: func() string { return "" }} }},
		"a name of two": {"Name", "want one line", func() balance.Planner { return planner{name: func() string { return "a\nb" }} }},
		"a name that changes": {"Name", "String", func() balance.Planner {
			return planner{name: func() string { calls++; return fmt.Sprint(calls) }}
		}},
		"rows twice": {"Valid", "", changed(func(_ *balance.Problem, a alltoall.Allocation) alltoall.Allocation { return append(a, a...) })},
		"rows lost": {"Valid", "", changed(func(_ *balance.Problem, a alltoall.Allocation) alltoall.Allocation {
			a[0].End--
			return a
		})},
		"no such rank": {"Valid", "", changed(func(p *balance.Problem, a alltoall.Allocation) alltoall.Allocation {
			a[0].Rank = p.Loads.Placement.Ranks()
			return a
		})},
		"more than slots": {"Valid", "", func() balance.Planner {
			return planner{plan: func(p *balance.Problem) alltoall.Allocation {
				p.Limits.Slots++
				defer func() { p.Limits.Slots-- }()
				return whole(p)
			}}
		}},
		"rows written": {"Unchanged", "the problem after Plan", changed(func(p *balance.Problem, a alltoall.Allocation) alltoall.Allocation {
			p.Loads.Rows[0]++
			return a
		})},
		"by chance": {"Same", "planned twice", changed(func(_ *balance.Problem, a alltoall.Allocation) alltoall.Allocation {
			if rand.IntN(2) == 0 {
				return nil
			}
			return a
		})},
		"memory used again": {"Owned", "an allocation after", func() balance.Planner {
			var kept alltoall.Allocation
			return planner{plan: func(p *balance.Problem) alltoall.Allocation {
				kept = append(kept[:0], whole(p)...)
				calls++
				for i := range kept {
					kept[i].First = calls % 7
				}
				return kept
			}}
		}},
	}
}

// TestBrokenPlannersAreFound: each by its rule.
func TestBrokenPlannersAreFound(t *testing.T) {
	found := map[string]bool{}
	for name, b := range broken() {
		said := run(b.rule, b.build)
		require.NotEmpty(t, said, "%s: %s finds nothing", name, b.rule)
		require.Contains(t, said, b.says, "%s: what %s says", name, b.rule)
		found[b.rule] = true
	}
	for _, r := range rules {
		require.True(t, found[r.name], "no planner breaks %s", r.name)
		require.Empty(t, run(r.name, func() balance.Planner { return planner{} }), "%s of a planner without a fault", r.name)
	}
}

// run runs a rule, and returns how it failed.
func run(rule string, build func() balance.Planner) string {
	notes := &recorder{}
	done := goRun(func() { // which FailNow ends
		for _, r := range rules {
			if r.name == rule {
				r.check(suite{notes, build, rand.New(rand.NewPCG(1, 2))})
			}
		}
	})
	<-done
	return notes.said
}

func goRun(f func()) chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

// recorder keeps what a failing test says.
type recorder struct{ said string }

func (r *recorder) Errorf(format string, args ...any) { r.said += fmt.Sprintf(format, args...) }
func (r *recorder) FailNow()                          { runtime.Goexit() }
