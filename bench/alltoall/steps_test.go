package alltoall

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlan(t *testing.T) {
	sizes := []int{64, 1 << 20, 1 << 30}
	require.Equal(t, []step{{64, 100, 2000}, {1 << 20, 34, 341}, {1 << 30, 3, 20}}, plan(sizes, 4, 0, false))
	require.Equal(t, []step{{64, 5, 50}, {1 << 20, 3, 5}, {1 << 30, 3, 5}}, plan(sizes, 4, 0, true))
	require.Equal(t, []step{{64, 3, 7}}, plan(sizes[:1], 4, 7, true), "who asks for a number gets it")
}

func TestStepsAreReadBack(t *testing.T) {
	steps := plan([]int{1, 64, 1 << 30}, 2, 0, false)
	back, err := parseSteps(stepArguments(steps))
	require.NoError(t, err)
	require.Equal(t, steps, back)
	for _, bad := range []string{"", "1:2", "1:2:3:4", "1:x:3", "0:1:1", "1:1:0", "-1:1:1", "2147483647:1:1"} {
		_, err := parseSteps([]string{bad})
		require.ErrorContains(t, err, "step", "%q", bad)
	}
}
