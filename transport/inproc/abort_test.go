package inproc_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func TestAbortIsSeenByAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, ranks, cause := context.Background(), inproc.New(4), errors.New("the trainer panicked")
		errs := make([]error, 4)
		var wg sync.WaitGroup
		for r := range 3 {
			wg.Go(func() { _, errs[r] = ranks[r].Recv(ctx, transport.Rank((r+1)%3), 1) })
		}
		synctest.Wait() // all three wait for each other, none for rank 3
		ranks[3].Abort(cause)
		wg.Wait()
		errs[3] = ranks[3].Send(ctx, 0, 1)
		for r, err := range errs {
			require.ErrorIs(t, err, transport.ErrPeerDead, "rank %d", r)
			require.ErrorIs(t, err, cause)
			require.Equal(t, transport.Rank(3), transport.CulpritOf(err))
		}
	})
}

func TestAbortAfterCloseDoesNothing(t *testing.T) {
	ctx, ranks := context.Background(), inproc.New(3)
	require.NoError(t, ranks[2].Close())
	ranks[2].Abort(nil)
	require.NoError(t, ranks[0].Send(ctx, 1, 1))
	_, err := ranks[1].Recv(ctx, 0, 1)
	require.NoError(t, err)
}

func TestFirstFailureWins(t *testing.T) {
	ranks := inproc.New(3)
	ranks[1].Abort(errors.New("first"))
	ranks[2].Abort(errors.New("second"))
	require.Equal(t, transport.Rank(1), transport.CulpritOf(ranks[0].Send(context.Background(), 0, 1)))
}

func TestOpTimeoutBreaksTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ranks, err := inproc.Open(inproc.Config{Ranks: 3, OpTimeout: 5 * time.Second})
		require.NoError(t, err)
		start := time.Now()
		_, err = ranks[0].Recv(context.Background(), 1, 1)
		require.Equal(t, 5*time.Second, time.Since(start))
		require.ErrorIs(t, err, transport.ErrTimeout)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
		require.Equal(t, err, ranks[2].Send(context.Background(), 2, 1))
	})
}

func TestSendWaitsOnceTheBoxIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		ranks, err := inproc.Open(inproc.Config{Ranks: 2, BufferBytes: 2 * (1000 + 64)})
		require.NoError(t, err)
		sent := make(chan int, 3)
		go func() {
			defer close(sent)
			for i := range 3 {
				_ = ranks[0].Send(ctx, 1, 1, make([]byte, 1000))
				sent <- i
			}
		}()
		synctest.Wait()
		require.Len(t, sent, 2)
		for range 3 {
			_, err := ranks[1].Recv(ctx, 0, 1, make([]byte, 1000))
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Len(t, sent, 3)
	})
}

func TestConfigValidate(t *testing.T) {
	require.NoError(t, inproc.Config{Ranks: 1}.Validate())
	require.Error(t, inproc.Config{}.Validate())
	_, err := inproc.Open(inproc.Config{Ranks: -1})
	require.Error(t, err)
	require.Panics(t, func() { inproc.New(0) })
}
