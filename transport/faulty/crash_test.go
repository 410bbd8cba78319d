package faulty_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/faulty"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func TestFailAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("bad memory")
		ranks := open(3, faulty.Config{Rules: []faulty.Rule{faulty.FailAt(1, 4, cause)}})
		pending := make(chan error, 2)
		// its first operation
		go func() { _, err := ranks[1].Recv(t.Context(), 2, 7); pending <- err }()
		go func() { _, err := ranks[0].Recv(t.Context(), 1, 7); pending <- err }()
		synctest.Wait()
		send(t, ranks[1], 0, 1, "second")
		send(t, ranks[1], 0, 1, "third")
		mine := ranks[1].Send(t.Context(), 0, 1, []byte("fourth"))
		require.ErrorIs(t, mine, cause)
		var e *transport.Error
		require.ErrorAs(t, mine, &e)
		require.EqualValues(t, 4, e.Seq)
		require.ErrorIs(t, ranks[1].Send(t.Context(), 1, 1), cause)
		errs := []error{mine, <-pending, <-pending, ranks[0].Send(t.Context(), 2, 1), ranks[2].Send(t.Context(), 0, 1)}
		for _, err := range errs {
			require.ErrorIs(t, err, faulty.ErrInjected)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
		}
		require.ErrorIs(t, errs[3], transport.ErrPeerDead)
		require.Equal(t, 1, ranks[1].(*faulty.Transport).Count(faulty.KindFail))
		for _, r := range ranks {
			require.NoError(t, r.Close())
		}
	})
}

// TestFailOfWhatCannotBeAborted closes the transport below, which has no Abort here.
func TestFailOfWhatCannotBeAborted(t *testing.T) {
	below := inproc.New(2)
	a := faulty.New(struct{ transport.Transport }{below[0]}, faulty.Config{Rules: []faulty.Rule{faulty.FailAt(0, 1, nil)}})
	require.ErrorIs(t, a.Send(t.Context(), 1, 1), faulty.ErrInjected)
	_, err := a.Recv(t.Context(), 1, 1)
	require.ErrorIs(t, err, faulty.ErrInjected)
	_, err = below[1].Recv(t.Context(), 0, 1)
	require.ErrorIs(t, err, transport.ErrPeerClosed)
	require.NoError(t, a.Close())
	require.ErrorIs(t, a.Send(t.Context(), 1, 1), transport.ErrClosed)
	require.NoError(t, below[1].Close())
}
