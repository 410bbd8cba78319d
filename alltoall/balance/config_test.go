package balance

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
)

func TestConfigIsValidated(t *testing.T) {
	require.NoError(t, Config{}.Validate())
	require.NoError(t, Config{When: Always, Margin: 100, Slots: 9, MaxBytes: 1}.Validate())
	err := Config{
		When: 7, Margin: 101, Slots: -1, MaxBytes: -2, Planner: func() Planner { return nil },
	}.Validate()
	for _, says := range []string{
		"When is 7, want 0 to 2", "Margin is 101 percent, want 0 to 100", "Slots is -1", "MaxBytes is -2", "Planner makes none",
	} {
		require.ErrorContains(t, err, "balance: "+says)
	}
}

func TestConfigMakesItsPlanner(t *testing.T) {
	require.IsType(t, &Makespan{}, Config{When: Always}.New())
	require.Equal(t, Plain{}, Config{When: Always, Planner: func() Planner { return Plain{} }}.New())
	gated := Config{When: Auto, Margin: 80}.New().(*Gated)
	require.IsType(t, &Makespan{}, gated.Planner)
	require.Equal(t, 80, gated.Margin)
	require.NotSame(t, Config{When: Always}.New(), Config{When: Always}.New(), "of each layer")
}

// TestConfigStatesWhatRanksShare: two that differ in anything say so.
func TestConfigStatesWhatRanksShare(t *testing.T) {
	require.Equal(t, Config{}.String(), Config{Slots: 3}.String(), "of one that shares nothing out")
	seen := map[string]bool{}
	for _, c := range []Config{
		{}, {When: Auto}, {When: Always}, {When: Auto, Margin: 50}, {When: Auto, Slots: 3}, {When: Auto, MaxBytes: 9},
		{When: Always, Planner: func() Planner { return Plain{} }},
	} {
		require.False(t, seen[c.String()], "%v", c)
		seen[c.String()] = true
	}
}

func TestLimitsOfConfig(t *testing.T) {
	require.Equal(t, alltoall.Limits{Slots: 2, Rows: 50}, Config{}.Limits(50, 10))
	require.Equal(t, alltoall.Limits{Slots: 9}, Config{Slots: 9}.Limits(0, 10))
	require.Equal(t, alltoall.Limits{Slots: 3}, Config{Slots: 9, MaxBytes: 119}.Limits(0, 10), "of three times ten bytes")
	require.Equal(t, alltoall.Limits{}, Config{MaxBytes: 29}.Limits(0, 10))
	require.Equal(t, alltoall.Limits{Slots: 2}, Config{MaxBytes: 1}.Limits(0, 0), "of experts without parameters")
}
