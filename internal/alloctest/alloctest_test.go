package alloctest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
)

var kept []byte

func TestLeast(t *testing.T) {
	calls := 0
	now := func(n int) func() {
		return func() {
			calls++
			for range n {
				kept = make([]byte, 100)
			}
		}
	}
	require.Equal(t, 3.0, alloctest.Least(4, now(3)))
	require.Equal(t, 8, calls, "each count has a call before it")
	calls = 0
	require.Zero(t, alloctest.Least(100, now(0)))
	require.Equal(t, 2, calls, "a call that allocates nothing ends the search")
	calls = 0
	require.Equal(t, 1.0, alloctest.Least(3, func() {
		calls++
		kept = make([]byte, 100)
		if calls < 5 { // the first two counts
			kept = make([]byte, 100)
		}
	}), "what only some calls allocate does not count")
}
