package mesh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLongYieldsPauseSpinning(t *testing.T) {
	now := time.Now()
	e := eagerness{start: now, long: longYield}
	require.True(t, e.may(now))
	require.True(t, e.took(longYield-1, now))
	require.True(t, e.may(now))
	for _, pause := range []time.Duration{4, 8, 16, 32, 64, 128, 256, 256} {
		require.False(t, e.took(longYield, now), "the wait goes on asleep")
		now = now.Add(pause*time.Millisecond - 1)
		require.False(t, e.may(now), "%v", pause)
		now = now.Add(1)
		require.True(t, e.may(now), "%v", pause)
	}
	for range calmTurns {
		require.True(t, e.took(0, now))
	}
	require.False(t, e.took(longYield, now))
	require.True(t, e.may(now.Add(firstPause)), "short yields in turn are no longer a busy machine")
}
