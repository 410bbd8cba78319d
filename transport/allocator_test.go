package transport_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// TestMemoryOfATransportWithoutItsOwn is Go's, also through a view, and can be freed.
func TestMemoryOfATransportWithoutItsOwn(t *testing.T) {
	world := struct{ transport.Transport }{inproc.New(1)[0]}
	defer world.Close()
	view, err := transport.Sub(world, 1, []transport.Rank{0})
	require.NoError(t, err)
	for name, end := range map[string]transport.Transport{"world": world, "view": view} {
		b := transport.Alloc(end, 5)
		require.Len(t, b, 5, name)
		transport.Free(end, b)
	}
	require.False(t, view.(transport.Allocator).Free(make([]byte, 5)), "not memory of the transport")
}

// lender is a transport that has memory for one slice.
type lender struct {
	transport.Transport
	memory []byte
	freed  int
}

func (l *lender) Alloc(n int) []byte {
	if n > len(l.memory) {
		return nil
	}
	return l.memory[:n]
}

func (l *lender) Free(b []byte) bool {
	if &b[0] != &l.memory[0] {
		return false
	}
	l.freed++
	return true
}

// TestMemoryOfATransport is used while there is room, also through a view.
func TestMemoryOfATransport(t *testing.T) {
	world := &lender{Transport: inproc.New(1)[0], memory: make([]byte, 8)}
	defer world.Close()
	view, err := transport.Sub(world, 1, []transport.Rank{0})
	require.NoError(t, err)
	for i, end := range []transport.Transport{world, view} {
		b := transport.Alloc(end, 8)
		require.Same(t, &world.memory[0], &b[0])
		transport.Free(end, b)
		require.Equal(t, i+1, world.freed)
		require.Len(t, transport.Alloc(end, 9), 9, "no room")
	}
}
