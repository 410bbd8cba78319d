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

// TestClockOffsetOfEqualPings: of pings that spent the same time on the way the first counts, and
// ways of no time are ways.
func TestClockOffsetOfEqualPings(t *testing.T) {
	now := time.Now()
	ping := func(there, ahead time.Duration) Ping {
		return Ping{Sent: now, Received: now.Add(there + ahead), Answered: now.Add(there + ahead), Returned: now.Add(12)}
	}
	ahead, within, err := ClockOffset([]Ping{ping(6, time.Second), ping(6, time.Minute)})
	require.NoError(t, err)
	require.Equal(t, time.Second, ahead)
	require.Equal(t, time.Duration(7), within)
	_, within, err = ClockOffset([]Ping{{Sent: now, Received: now, Answered: now, Returned: now}})
	require.NoError(t, err)
	require.Equal(t, time.Duration(1), within)
	_, _, err = ClockOffset([]Ping{{Sent: now, Received: now, Answered: now.Add(1), Returned: now}})
	require.ErrorIs(t, err, ErrNoPing)
}
