package mesh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// TestCreditSchedulingTakesLateTicksOut has the clock jump, as it does for a process that is
// stopped, and counts the looks that it takes for a peer that says nothing to be dead.
func TestCreditSchedulingTakesLateTicksOut(t *testing.T) {
	for name, step := range map[string]time.Duration{
		"in time": 500 * time.Millisecond, "a little late": 600 * time.Millisecond, "stopped often": 2400 * time.Millisecond, "stopped for long": time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			m := New(config(0, 2)) // not started: the looks are ours
			now := time.Now()
			m.peers[1].lastHeard.Store(now.UnixNano())
			m.peers[1].begun.Store(true)
			looks := 0
			for ; m.fault.Load() == nil && looks < 2*minLooks; looks++ {
				now = now.Add(step)
				m.creditScheduling(step, now)
				m.findSilent(now)
			}
			require.Equal(t, minLooks+1, looks)
			require.ErrorIs(t, m.fault.Load().err, transport.ErrPeerDead)
		})
	}
}

// TestSilenceOfJoiningRankIsNoDeath: a rank that has been connected to and still connects to others
// says nothing.
func TestSilenceOfJoiningRankIsNoDeath(t *testing.T) {
	m := New(config(0, 2))
	now := time.Now()
	for range 60 {
		now = now.Add(500 * time.Millisecond)
		m.findSilent(now)
	}
	require.Nil(t, m.fault.Load())
	m.peers[1].heard.Store(true) // it has joined
	m.findSilent(now)
	m.findSilent(now.Add(2 * m.cfg.DeadAfter))
	require.ErrorIs(t, m.fault.Load().err, transport.ErrPeerDead)
}

func TestCreditSchedulingKeepsWhatWasJustHeard(t *testing.T) {
	m := New(config(0, 2))
	now := time.Now()
	m.peers[1].lastHeard.Store(now.UnixNano())
	m.creditScheduling(time.Hour, now)
	require.Equal(t, now.UnixNano(), m.peers[1].lastHeard.Load(), "no peer is heard in the future")
}
