package trace

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestClockOffset: whatever the ways take, the truth is within the bound, and with equal ways the
// estimate is exact.
func TestClockOffset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		truth := time.Duration(rapid.Int64Range(-1e12, 1e12).Draw(t, "ahead"))
		equal := rapid.Bool().Draw(t, "equal ways")
		now := time.Now()
		var pings []Ping
		fastest := time.Duration(1 << 62)
		for range rapid.IntRange(1, 5).Draw(t, "pings") {
			way := func(name string) time.Duration { return time.Duration(rapid.IntRange(0, 1e6).Draw(t, name)) }
			there := way("there")
			back := there
			if !equal {
				back = way("back")
			}
			p := Ping{Sent: now, Received: now.Add(there + truth)}
			p.Answered = p.Received.Add(way("thinking"))
			p.Returned = p.Answered.Add(back - truth)
			fastest = min(fastest, there+back)
			pings = append(pings, p)
			now = p.Returned.Add(way("pause"))
		}
		// In this one the other clock was set back.
		pings = append(pings, Ping{Sent: now, Received: now.Add(5), Answered: now, Returned: now})
		ahead, within, err := ClockOffset(pings)
		require.NoError(t, err)
		require.LessOrEqual(t, (ahead - truth).Abs(), within)
		require.Equal(t, fastest/2+1, within, "the ping that says most")
		if equal {
			require.LessOrEqual(t, (ahead - truth).Abs(), 2*time.Nanosecond)
		}
	})
	_, _, err := ClockOffset(nil)
	require.ErrorIs(t, err, ErrNoPing)
}
