package balance_test

import (
	"testing"

	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/alltoall/balance/balancetest"
)

// planners makes one of each, by name.
func planners() map[string]func() balance.Planner {
	return map[string]func() balance.Planner{
		"plain":     func() balance.Planner { return balance.Plain{} },
		"spill":     func() balance.Planner { return &balance.Spill{MinRows: 1} },
		"exact":     func() balance.Planner { return &balance.Exact{} },
		"threshold": func() balance.Planner { return &balance.Threshold{} },
		"copies":    func() balance.Planner { return &balance.Copies{Every: 2} },
		"makespan":  func() balance.Planner { return &balance.Makespan{} },
		"gated":     func() balance.Planner { return &balance.Gated{Planner: &balance.Exact{}} },
	}
}

func TestConformance(t *testing.T) {
	for name, build := range planners() {
		t.Run(name, func(t *testing.T) { balancetest.Run(t, build) })
	}
}
