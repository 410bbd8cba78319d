package inproc_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// TestWhoLeavesIsNoPeerToItself: a rank that was waited for when it closed finds its own transport
// closed, not a peer's.
func TestWhoLeavesIsNoPeerToItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := inproc.New(2)
		waiting := make(chan error, 1)
		go func() { _, err := ends[1].Recv(t.Context(), 0, 1); waiting <- err }()
		synctest.Wait()
		require.NoError(t, ends[0].Close())
		require.ErrorIs(t, <-waiting, transport.ErrPeerClosed)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for _, ctx := range []context.Context{t.Context(), ended} {
			require.ErrorIs(t, ends[0].Send(ctx, 1, 1, nil), transport.ErrClosed)
			_, err := ends[0].Recv(ctx, 1, 1)
			require.ErrorIs(t, err, transport.ErrClosed)
		}
		require.NoError(t, ends[1].Close())
	})
}
