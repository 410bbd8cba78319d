package mesh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLongYieldsPauseSpinning(t *testing.T) {
	now := time.Now()
	e := spinPolicy{start: now, long: longYield}
	require.True(t, e.allowed(now))
	require.True(t, e.record(longYield-1, now))
	require.True(t, e.allowed(now))
	for _, pause := range []time.Duration{4, 8, 16, 32, 64, 128, 256, 256} {
		require.False(t, e.record(longYield, now), "the wait goes on asleep")
		now = now.Add(pause*time.Millisecond - 1)
		require.False(t, e.allowed(now), "%v", pause)
		now = now.Add(1)
		require.True(t, e.allowed(now), "%v", pause)
	}
	for range calmTurns {
		require.True(t, e.record(0, now))
	}
	require.False(t, e.record(longYield, now))
	require.True(t, e.allowed(now.Add(firstPause)), "short yields in turn are no longer a busy machine")
}
