package shaped_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/shaped"
)

// asked calls then when it is asked whether the way is still open: with a context that has ended.
type asked struct {
	transport.Transport
	then func()
}

func (a *asked) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	if ctx.Err() != nil {
		a.then()
	}
	return a.Transport.Send(ctx, to, tag, bufs...)
}

// TestCloseWhileASendBegins has a rank close between a send's first look at it and the answer of
// the transport below, to which the rank is then a peer that has left.
func TestCloseWhileASendBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := inproc.New(2)
		below := &asked{Transport: ends[0]}
		a := shaped.New(below, shaped.Config{Bandwidth: 1e6})
		below.then = func() { require.NoError(t, a.Close()) }
		waiting := make(chan error, 1)
		go func() { _, err := ends[1].Recv(t.Context(), 0, 1); waiting <- err }()
		synctest.Wait()
		require.ErrorIs(t, a.Send(t.Context(), 1, 2, []byte("late")), transport.ErrClosed)
		require.ErrorIs(t, <-waiting, transport.ErrPeerClosed)
		require.NoError(t, ends[1].Close())
	})
}
