package rendezvous

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

type met struct {
	table Table
	err   error
}

// meetAs runs Meet for a rank of three that an agent has started.
func meetAs(addr string, rank transport.Rank, agent string, restart uint32) <-chan met {
	out := make(chan met, 1)
	go func() {
		t, err := Meet(context.Background(), Config{
			Rank: rank, Size: 3, Addr: addr, Job: "restarts", Listen: "127.0.0.1:1", Agent: agent, Restart: restart, Timeout: 20 * time.Second,
		})
		out <- met{t, err}
	}()
	return out
}

func requireMet(t *testing.T, all ...<-chan met) {
	t.Helper()
	var session [16]byte
	for i, c := range all {
		m := <-c
		require.NoError(t, m.err)
		if i == 0 {
			session = m.table.Session
		}
		require.Equal(t, session, m.table.Session)
	}
}

// TestRankZeroOfAnEarlierStartStepsDown: it has the address when the restarted job needs it,
// and releases it. A rank of another agent, which has its own count, connects to the new one.
func TestRankZeroOfAnEarlierStartStepsDown(t *testing.T) {
	addr := freeAddr(t)
	stale := meetAs(addr, 0, "a", 0)
	other := meetAs(addr, 2, "b", 4)
	again0 := meetAs(addr, 0, "a", 1)
	m := <-stale
	require.ErrorIs(t, m.err, transport.ErrDuplicateRank)
	require.ErrorContains(t, m.err, "rank 0 belongs to start 0")
	requireMet(t, again0, meetAs(addr, 1, "a", 1), other)
}

// TestRankOfAnEarlierStartIsRefused: whether it connects before or after the others.
func TestRankOfAnEarlierStartIsRefused(t *testing.T) {
	addr := freeAddr(t)
	zero := meetAs(addr, 0, "a", 1)
	m := <-meetAs(addr, 1, "a", 0)
	require.ErrorIs(t, m.err, transport.ErrDuplicateRank)
	require.ErrorContains(t, m.err, "rank 1 belongs to start 0")
	requireMet(t, zero, meetAs(addr, 1, "a", 1), meetAs(addr, 2, "b", 0))
}

// TestRejectionOfAnEarlierStartIsNotSent: what has failed one start of a job does not fail the
// next.
func TestRejectionOfAnEarlierStartIsNotSent(t *testing.T) {
	addr := freeAddr(t)
	zero := meetAs(addr, 0, "a", 0)
	wrong := make(chan error, 1)
	go func() {
		_, err := Meet(context.Background(), Config{Rank: 1, Size: 4, Addr: addr, Job: "restarts", Agent: "a", Timeout: 20 * time.Second})
		wrong <- err
	}()
	// rank 0 now sends this to each rank that connects within the next second
	require.ErrorIs(t, <-wrong, transport.ErrMismatch)
	again0, again1 := meetAs(addr, 0, "a", 1), meetAs(addr, 1, "a", 1)
	require.ErrorIs(t, (<-zero).err, transport.ErrMismatch)
	requireMet(t, again0, again1, meetAs(addr, 2, "b", 0))
}

// TestPortOfASilentHolder: if another program accepts connections on the port and sends nothing,
// rank 0 does not wait until time is up.
func TestPortOfASilentHolder(t *testing.T) {
	l, err := net.Listen("tcp", freeAddr(t))
	require.NoError(t, err)
	defer l.Close()
	began := time.Now()
	_, err = Meet(context.Background(), Config{Rank: 0, Size: 2, Addr: l.Addr().String(), Timeout: 2 * time.Minute})
	require.ErrorContains(t, err, "address already in use")
	require.ErrorContains(t, err, l.Addr().String())
	require.Less(t, time.Since(began), time.Minute)
}
