package transporttest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// RunOpener tests that o keeps the contract of [rendezvous.Opener], with ranks that are goroutines
// of this process and meet on loopback. The transports that it opens have tests of their own: see
// [Run].
func RunOpener(t *testing.T, o rendezvous.Opener) {
	t.Run("Name", func(t *testing.T) { require.Regexp(t, "^[a-z0-9]+$", o.Name()) })
	t.Run("RanksMeet", func(t *testing.T) { ranksMeet(t, o) })
	t.Run("OneRank", func(t *testing.T) {
		ends, errs := openAll(t.Context(), o, 1, openingOf(t, 1))
		require.NoError(t, errs[0])
		require.NoError(t, ends[0].Close())
	})
	t.Run("DifferentSettings", func(t *testing.T) { settingsDiffer(t, o) })
	t.Run("MissingRank", func(t *testing.T) { rankIsMissing(t, o) })
	t.Run("BadIdentity", func(t *testing.T) {
		terms := openingOf(t, 2)(2)
		end, err := o.Open(t.Context(), terms)
		require.Error(t, err)
		require.Nil(t, end, "a transport beside an error")
	})
}

// ranksMeet opens a job and sends a message from each rank to the next one.
func ranksMeet(t *testing.T, o rendezvous.Opener) {
	const n = 3
	ends, errs := openAll(t.Context(), o, n, openingOf(t, n))
	for r, err := range errs {
		require.NoError(t, err, "rank %d", r)
	}
	j := newJob(t, ends)
	for r, end := range j.ranks {
		next := transport.Rank((r + 1) % n)
		got := make([]byte, 1)
		sent := make(chan error, 1)
		go func() { sent <- end.Send(t.Context(), next, 1, []byte{byte(r)}) }()
		_, err := j.ranks[next].Recv(t.Context(), transport.Rank(r), 1, got)
		require.NoError(t, err)
		require.NoError(t, <-sent)
		require.Equal(t, byte(r), got[0])
	}
}

// settingsDiffer demands that every rank learns of a setting in which one differs.
func settingsDiffer(t *testing.T, o rendezvous.Opener) {
	terms := openingOf(t, 3)
	_, errs := openAll(t.Context(), o, 3, func(r transport.Rank) rendezvous.Opening {
		one := terms(r)
		one.Settings = map[string]string{"experts": "8"}
		if r == 2 {
			one.Settings["experts"] = "16"
		}
		return one
	})
	for r, err := range errs {
		require.ErrorIs(t, err, transport.ErrMismatch, "rank %d", r)
		require.ErrorContains(t, err, "experts", "rank %d", r)
	}
}

// rankIsMissing demands that the others give up in time, and name it.
func rankIsMissing(t *testing.T, o rendezvous.Opener) {
	terms := openingOf(t, 3)
	ends, errs := openAll(t.Context(), o, 2, func(r transport.Rank) rendezvous.Opening {
		one := terms(r)
		one.JoinTimeout = 300 * time.Millisecond
		return one
	})
	for r, err := range errs {
		require.ErrorIs(t, err, transport.ErrTimeout, "rank %d", r)
		require.Nil(t, ends[r], "a transport beside an error")
	}
}

// openingOf returns the terms of each rank of a job of n.
func openingOf(t *testing.T, n int) func(r transport.Rank) rendezvous.Opening {
	addr := loopback.Addr()
	return func(r transport.Rank) rendezvous.Opening {
		return rendezvous.Opening{
			Identity: rendezvous.Identity{Rank: r, Size: n, Addr: addr, Job: t.Name()},
			Limits:   transport.Limits{JoinTimeout: testTimeout},
		}
	}
}

// openAll opens n ranks at once.
func openAll(ctx context.Context, o rendezvous.Opener, n int, terms func(r transport.Rank) rendezvous.Opening) ([]transport.Transport, []error) {
	ends, errs := make([]transport.Transport, n), make([]error, n)
	var all sync.WaitGroup
	for r := range n {
		all.Go(func() { ends[r], errs[r] = o.Open(ctx, terms(transport.Rank(r))) })
	}
	all.Wait()
	return ends, errs
}
