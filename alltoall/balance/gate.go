package balance

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// Gated is a planner that shares experts out only where that pays: where, by the costs, the last
// rank is done early enough. Otherwise it returns an empty allocation.
type Gated struct {
	// Planner is the planner that it asks.
	Planner Planner
	// Margin is the latest predicted finish at which experts are shared out, in percent of that
	// without sharing; 0 means 95.
	Margin int

	prediction Prediction
}

var _ Planner = (*Gated)(nil)

// String states the settings.
func (g *Gated) String() string { return fmt.Sprintf("gated(%s, %d%%)", g.Planner, g.margin()) }

func (g *Gated) margin() int64 { return int64(cmp.Or(g.Margin, 95)) }

// Plan is described at [Planner].
func (g *Gated) Plan(p *Problem) alltoall.Allocation {
	a := g.Planner.Plan(p)
	if len(a) == 0 {
		return nil
	}
	if without, with := g.finishes(p, a); portion(without, g.margin(), 100) < with {
		return nil
	}
	return a
}

// finishes is when the last rank is done without and with what the planner has planned just now.
func (g *Gated) finishes(p *Problem, a alltoall.Allocation) (without, with int64) {
	if m, ok := g.Planner.(*Makespan); ok { // it has predicted both
		return slices.Max(m.search.start), m.search.draft.Finish()
	}
	q := &g.prediction
	q.Fill(p, nil)
	without = q.Finish()
	q.Share(a)
	return without, q.Finish()
}
