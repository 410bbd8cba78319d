package balance_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
)

// TestGateSwitches where a slice of n tokens costs as much to move as it saves: from n = (b/2)·C/W
// on forward, and (b+4)/6·C/W in training, for any size of the expert.
func TestGateSwitches(t *testing.T) {
	const flops, bytes = 200e9, 125e6 // a second: C and W, a processor behind 1 Gbit/s
	for _, params := range []int64{100_000, 1_572_864, 40_000_000} {
		for _, b := range []int64{2, 4} {
			for _, training := range []bool{false, true} {
				costs := balance.Costs{Params: b * params, Within: 1e12 / bytes}
				row, even := 2*float64(params), float64(b)/2*flops/bytes
				if training {
					row, even, costs.Gradient = 3*row, float64(b+4)/6*flops/bytes, 4*params
				}
				costs.Row = []int64{int64(row / flops * 1e12), int64(row / flops * 1e12)}
				shares := func(tokens float64, margin int) bool {
					n := int32(tokens)
					p := &balance.Problem{ // a home of two leaves, of which an idle rank can take one
						Loads: &alltoall.Loads{Placement: alltoall.Hosted([]int{1, 0}), Leaves: []int{1, 1}, Rows: []int32{n, n}},
						Costs: costs, Limits: alltoall.Limits{Slots: 1},
					}
					require.NoError(t, p.Validate())
					return len((&balance.Gated{Planner: &balance.Makespan{}, Margin: margin}).Plan(p)) > 0
				}
				require.False(t, shares(0.97*even, 100), "%d parameters of %d bytes, training %v", params, b, training)
				require.True(t, shares(1.06*even, 100), "%d parameters of %d bytes, training %v", params, b, training)
				// With a margin of 95 % the slice must save 5 % of the whole, twice the slice, on top.
				require.False(t, shares(1.05*even, 0))
				require.True(t, shares(1.15*even, 0))
			}
		}
	}
}

func TestGatedString(t *testing.T) {
	require.Equal(t, "gated(makespan, 95%)", (&balance.Gated{Planner: &balance.Makespan{}}).String())
	require.Empty(t, (&balance.Gated{Planner: balance.Plain{}}).Plan(nil))
}
