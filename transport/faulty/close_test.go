package faulty_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/faulty"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// asked calls then when a call with an ended context asks whether it is still open.
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

// TestCloseWhileAnOperationBegins closes a rank between an operation's first check and the answer
// of the transport below, for which the rank is then a peer that has closed.
func TestCloseWhileAnOperationBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := inproc.New(2)
		below := &asked{Transport: ends[0]}
		a := faulty.New(below, faulty.Config{Rules: []faulty.Rule{{Fault: faulty.Drop(), When: func(faulty.Op) bool { return false }}}})
		below.then = func() { require.NoError(t, a.Close()) }
		waiting := make(chan error, 1)
		go func() { _, err := ends[1].Recv(t.Context(), 0, 1); waiting <- err }()
		synctest.Wait()
		_, err := a.Recv(t.Context(), 1, 1)
		require.ErrorIs(t, err, transport.ErrClosed)
		require.ErrorIs(t, <-waiting, transport.ErrPeerClosed)
		require.NoError(t, ends[1].Close())
	})
}
