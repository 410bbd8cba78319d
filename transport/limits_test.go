package transport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLimitsTakeTheDefaultsOfTheirTransport(t *testing.T) {
	require.Equal(t, DefaultLimits(), Limits{}.WithDefaults(DefaultLimits()))
	own := Limits{JoinTimeout: 1, OpTimeout: NoTimeout, Heartbeat: 2, DeadAfter: 9, CloseTimeout: 3, MaxUnexpectedBytes: 4}
	require.Equal(t, own, own.WithDefaults(DefaultLimits()))
	few := Limits{OpTimeout: time.Hour, MaxUnexpectedBytes: 1 << 20}
	require.Equal(t, few, Limits{}.WithDefaults(few), "a limit that the transport does not have stays 0")
}

// TestHeartbeatFollowsDeadAfter: several signs of life fit into the silence that means death.
func TestHeartbeatFollowsDeadAfter(t *testing.T) {
	for _, c := range []struct{ beat, dead, wantBeat, wantDead time.Duration }{
		{0, 0, 500 * time.Millisecond, 30 * time.Second},
		{0, time.Second, 250 * time.Millisecond, time.Second},
		{time.Second, 0, time.Second, 30 * time.Second},
		{0, time.Hour, 500 * time.Millisecond, time.Hour},
		{-1, -1, -1, -1}, // for Validate to refuse
	} {
		l := Limits{Heartbeat: c.beat, DeadAfter: c.dead}.WithDefaults(DefaultLimits())
		require.Equal(t, c.wantBeat, l.Heartbeat)
		require.Equal(t, c.wantDead, l.DeadAfter)
	}
}

func TestLimitsReportEveryFault(t *testing.T) {
	l := Limits{JoinTimeout: -1, OpTimeout: NoTimeout, Heartbeat: time.Hour, DeadAfter: -2, CloseTimeout: -3, MaxUnexpectedBytes: -4}
	require.EqualError(t, l.Validate("x", DefaultLimits()), "x: JoinTimeout -1ns is negative\nx: DeadAfter -2ns is negative\n"+
		"x: CloseTimeout -3ns is negative\nx: MaxUnexpectedBytes -4 is negative\nx: DeadAfter -2ns is below twice Heartbeat 1h0m0s")
	require.NoError(t, Limits{}.Validate("x", DefaultLimits()))
	require.NoError(t, Limits{OpTimeout: NoTimeout, DeadAfter: time.Second / 2}.Validate("x", DefaultLimits()))
}

func TestLimitsThatATransportDoesNotHaveAreRefused(t *testing.T) {
	all := Limits{JoinTimeout: 1, OpTimeout: 2, Heartbeat: 3, DeadAfter: 6, CloseTimeout: 4, MaxUnexpectedBytes: 5}
	require.NoError(t, all.Validate("x", all))
	err := all.Validate("x", Limits{OpTimeout: 1})
	require.EqualError(t, err, "x: JoinTimeout 1ns is set, but x has no such limit\nx: Heartbeat 3ns is set, but x has no such limit\n"+
		"x: DeadAfter 6ns is set, but x has no such limit\nx: CloseTimeout 4ns is set, but x has no such limit\n"+
		"x: MaxUnexpectedBytes 5 is set, but x has no such limit")
}

// TestNoTimeoutIsNegative, as every OpTimeout that is no bound: 0 would be the default.
func TestNoTimeoutIsNegative(t *testing.T) {
	require.Negative(t, NoTimeout)
}

// TestHeartbeatWithoutDeadAfter: a transport that finds deaths by other means keeps its own.
func TestHeartbeatWithoutDeadAfter(t *testing.T) {
	own := Limits{Heartbeat: time.Second}
	require.Equal(t, own, Limits{}.WithDefaults(own))
}

// TestDeadAfterIsAtLeastTwoHeartbeats, so that one late sign of life is not a death.
func TestDeadAfterIsAtLeastTwoHeartbeats(t *testing.T) {
	enough := Limits{Heartbeat: 2 * time.Second, DeadAfter: 4 * time.Second}
	require.NoError(t, enough.Validate("x", DefaultLimits()))
	short := Limits{Heartbeat: 2 * time.Second, DeadAfter: 3 * time.Second}
	require.EqualError(t, short.Validate("x", DefaultLimits()), "x: DeadAfter 3s is below twice Heartbeat 2s")
}
