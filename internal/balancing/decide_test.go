package balancing

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/alltoall/links"
)

// TestStayed: what limits keep at home is counted: here half of 400 rows of four experts should be
// computed by another rank. Under a limit of rows they are a leaf less, as cuts are not exact; with
// Auto nothing is planned before times are known.
func TestStayed(t *testing.T) {
	const leaves = 20
	loads := &alltoall.Loads{Placement: alltoall.Even(8, 2), Leaves: []int{leaves / 2, leaves / 2}, RowTime: []int64{0, 0}}
	for range 4 * leaves {
		loads.Rows = append(loads.Rows, 5)
	}
	loads.Rows = append(loads.Rows, make([]int32, 4*leaves)...)
	for name, c := range map[string]struct {
		how           balance.Config
		rows          int
		moved, stayed int
	}{
		"room":      {balance.Config{Slots: 4}, 0, 200, 0},
		"all slots": {balance.Config{}, 0, 200, 0},
		"slots":     {balance.Config{Slots: 1}, 0, 100, 100},
		"bytes":     {balance.Config{Slots: 4, MaxBytes: 3*1000 + 1}, 0, 100, 100},
		"no slot":   {balance.Config{MaxBytes: 1}, 0, 0, 200},
		"rows":      {balance.Config{Slots: 4}, 150, 145, 55},
		"off":       {balance.Config{When: balance.Auto, MaxBytes: 1}, 0, 0, 0},
	} {
		if c.how.When == balance.Never {
			c.how.When = balance.Always
		}
		d := newDecider(c.how, alltoall.Config{Dim: 4, Placement: loads.Placement, MaxRows: c.rows}, links.Links{}, 1000)
		_, s, err := d.decide(loads, true, true)
		require.NoError(t, err, name)
		require.Equal(t, c.moved, s.Rows, name)
		require.Equal(t, c.stayed, s.Stayed, name)
	}
}

// planned is a planner that decides so always.
type planned alltoall.Allocation

func (p planned) Plan(*balance.Problem) alltoall.Allocation { return alltoall.Allocation(p) }
func (planned) String() string                              { return "planned" }

// TestPlannerAboveLimitsIsRefused, and one that is only above them without limits counts as none.
func TestPlannerAboveLimitsIsRefused(t *testing.T) {
	loads := &alltoall.Loads{Placement: alltoall.Even(2, 2), Leaves: []int{1, 1}, RowTime: []int64{0, 0}, Rows: []int32{1, 1, 1, 1}}
	made := 0
	how := balance.Config{When: balance.Always, MaxBytes: 1, Planner: func() balance.Planner {
		if made++; made%2 == 1 {
			return balance.Plain{}
		}
		return planned{{Expert: 7}}
	}}
	x := alltoall.Config{Dim: 4, Placement: loads.Placement}
	_, s, err := newDecider(how, x, links.Links{}, 1000).decide(loads, true, true)
	require.NoError(t, err)
	require.Zero(t, s.Stayed)
	how.Planner = func() balance.Planner { return planned{{Expert: 0, Rank: 1, End: 2}} }
	_, _, err = newDecider(how, x, links.Links{}, 1000).decide(loads, true, true)
	require.ErrorContains(t, err, "Config.Balance.Planner planned: alltoall: allocation: rank 1 computes 1 runs")
}
