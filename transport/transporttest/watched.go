package transporttest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/lockstep"
	"github.com/switchyard-moe/switchyard/transport"
)

var watchedClaims = []claim{
	{"OutOfStep", "ranks that are in different operations get an error that states both sides, on every rank", 3, outOfStep},
	{"InStep", "a rank that waits for another gets no error", 2, inStep},
	{"PeerFailed", "ranks that wait in what one has failed in get an error that names it and says why", 3, peerFailed},
	{"Settle", "a rank whose operation has failed finds those that are in another", 2, settle},
}

// RunWatched tests that the transports which open returns are a [transport.Watcher] whose
// statements reach the other ranks. See [Run].
func RunWatched(t *testing.T, open func(t *testing.T, n int) []transport.Transport) {
	runClaims(t, open, watchedClaims)
}

// logs makes every rank watch a log in which the named operation is open.
func (j *job) logs(names ...string) {
	for r, name := range names {
		log := lockstep.New(transport.Rank(r))
		require.True(j, transport.Watch(j.ranks[r], log), "it is a transport.Watcher")
		log.Begin(1, "layer 1", name)
	}
}

// outOfStep makes all ranks wait for messages that are never sent.
func outOfStep(j *job) {
	j.logs("Forward", "Eval", "Forward")
	errs := make([]error, len(j.ranks))
	var wg sync.WaitGroup
	for r, t := range j.ranks {
		wg.Go(func() {
			_, errs[r] = t.Recv(j.Context(), transport.Rank((r+1)%len(j.ranks)), 1, make([]byte, 8))
		})
	}
	wg.Wait()
	for r, err := range errs {
		require.ErrorIs(j, err, transport.ErrOutOfStep, "rank %d", r)
		require.ErrorContains(j, err, "layer 1: Forward #1", "rank %d", r)
		require.ErrorContains(j, err, "layer 1: Eval #1", "rank %d", r)
		require.Equal(j, transport.None, transport.CulpritOf(err), "rank %d", r)
	}
}

// peerFailed fails rank 1 while the others wait for it, and for each other.
func peerFailed(j *job) {
	for r, t := range j.ranks {
		log := lockstep.New(transport.Rank(r))
		require.True(j, transport.Watch(t, log), "it is a transport.Watcher")
		begun := log.Begin(1, "layer 1", "Forward")
		if r == 1 {
			begun.End(false)
			log.Fail(1, errors.New("no room for 9 rows"))
		}
	}
	errs := make([]error, len(j.ranks))
	var wg sync.WaitGroup
	for _, r := range []int{0, 2} {
		wg.Go(func() { _, errs[r] = j.ranks[r].Recv(j.Context(), transport.Rank(2-r), 1, make([]byte, 8)) })
	}
	wg.Wait()
	for _, r := range []int{0, 2} {
		require.ErrorIs(j, errs[r], transport.ErrPeerFailed, "rank %d", r)
		require.ErrorContains(j, errs[r], "in layer 1: Forward #1: no room for 9 rows", "rank %d", r)
		require.Equal(j, transport.Rank(1), transport.CulpritOf(errs[r]), "rank %d: %v", r, errs[r])
	}
}

// inStep makes a rank wait until statements have been sent.
func inStep(j *job) {
	j.logs("Forward", "Forward")
	sent := make(chan error, 1)
	timer := time.AfterFunc(transport.NextStatement(0)*3/2, func() { sent <- j.ranks[1].Send(j.Context(), 0, 1, []byte("late")) })
	defer timer.Stop()
	got := make([]byte, 4)
	_, err := j.ranks[0].Recv(j.Context(), 1, 1, got)
	require.NoError(j, errors.Join(err, <-sent))
	require.Equal(j, "late", string(got))
	require.NoError(j, transport.Settle(j.ranks[0]))
}

func settle(j *job) {
	j.logs("Forward", "Step")
	require.ErrorIs(j, transport.Settle(j.ranks[0]), transport.ErrOutOfStep)
	require.ErrorIs(j, j.ranks[1].Send(j.Context(), 0, 1, nil), transport.ErrOutOfStep)
}
