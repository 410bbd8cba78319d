package schedule

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTimelineAddsUp what each resource did: computing from 1 to 3 and 5 to 6 of 6 seconds.
func TestTimelineAddsUp(t *testing.T) {
	g := &Graph{Tasks: []Task{{Op: Dispatch, Resource: Inter}, {Op: Expert}, {Op: Combine, Resource: Inter}, {Op: Shared}}}
	line := Timeline{Graph: g, Spans: []Span{{0, 1}, {1, 3}, {3, 5}, {5, 6}}}
	require.Equal(t, 6.0, line.Makespan())
	require.Equal(t, 3.0, line.Busy(Compute))
	require.Equal(t, 3.0, line.Busy(Inter))
	require.Zero(t, line.Busy(Intra))
	require.Equal(t, 3.0, line.Exposed())
	require.Zero(t, (&Timeline{Graph: &Graph{}}).Makespan())
}

func TestWork(t *testing.T) {
	require.Equal(t, Work{Starts: 4, Size: 6}, Work{Starts: 2, Size: 3}.Times(2))
	costs := &Costs{Expert: {Alpha: 2, Beta: 0.5}}
	require.Equal(t, 11.0, costs.Time(&Task{Op: Expert, Work: Work{Starts: 3, Size: 10}}))
	require.Zero(t, costs.Time(&Task{Op: Dispatch, Work: Work{Starts: 3, Size: 10}}))
}
