package meshjoin

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// tcpPair returns both ends of a connection over loopback.
func tcpPair(t testing.TB) (a, b *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	accepted, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = dialled.Close(); _ = accepted.Close() })
	return dialled.(*net.TCPConn), accepted.(*net.TCPConn)
}

// streamsOver makes data streams under TLS of two connections that lead to each other, maybe
// through somebody between.
func streamsOver(t testing.TB, dialled, accepted *net.TCPConn) (a, b mesh.Stream) {
	with := withTLS(t)
	guard := func(r transport.Rank) *secure.Guard {
		c := Config{Identity: rendezvous.Identity{Rank: r}}
		with(&c)
		g, err := secure.NewGuard(c.Security, "", r, nil)
		require.NoError(t, err)
		return g
	}
	var opened, admitted net.Conn
	var openErr, admitErr error
	var wg sync.WaitGroup
	wg.Go(func() { opened, openErr = guard(1).Open(&wire{TCPConn: dialled}, 0, secure.Session{}) })
	admitted, _, admitErr = guard(0).Admit(&wire{TCPConn: accepted}, secure.Session{})
	wg.Wait()
	require.NoError(t, errors.Join(openErr, admitErr))
	a, err := newDataStream(opened)
	require.NoError(t, err)
	b, err = newDataStream(admitted)
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// pieces cuts b at random places into parts, none of them empty, and offers a random number of
// them.
func pieces(rng *rand.Rand, b []byte) [][]byte {
	var out [][]byte
	for len(b) > 0 && (len(out) == 0 || rng.IntN(8) > 0) {
		n := min(len(b), 1+rng.IntN([]int{4, 200, 20_000, 300_000}[rng.IntN(4)]))
		out = append(out, b[:n])
		b = b[n:]
	}
	return out
}

// TestTLSStreamMovesEveryByteWithoutWaiting writes and reads in one goroutine, so any wait would be
// the last.
func TestTLSStreamMovesEveryByteWithoutWaiting(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	a, b := tcpPair(t)
	from, to := streamsOver(t, a, b)
	const size = 8 << 20
	sent, got := make([]byte, size), make([]byte, size)
	for i := range sent {
		sent[i] = byte(rng.Uint32())
	}
	again, w, r := 0, 0, 0
	for deadline := time.Now().Add(30 * time.Second); r < size; {
		require.True(t, time.Now().Before(deadline), "%d of %d bytes", r, size)
		for w < size {
			offered := pieces(rng, sent[w:])
			first := offered[0]
			n, err := from.Write(offered, rng.IntN(2) == 0)
			require.Equal(t, len(first), len(offered[0]), "the caller's slices are changed")
			w += n
			if err != nil {
				require.ErrorIs(t, err, mesh.ErrAgain)
				require.Zero(t, n)
				again++
				break
			}
		}
		if err := from.Flush(); err != nil {
			require.ErrorIs(t, err, mesh.ErrAgain)
		}
		if n, err := to.Read(pieces(rng, got[r:])); err == nil {
			r += n
		} else {
			require.ErrorIs(t, err, mesh.ErrAgain)
			require.Zero(t, n)
		}
	}
	require.Positive(t, again, "the stream never was full")
	require.True(t, bytes.Equal(sent, got))
	require.Less(t, cap(from.(*tlsStream).wire.out), 8*wireBehind, "what waits for the kernel is bounded")
	from.Finish()
	require.Eventually(t, func() bool {
		_, err := to.Read([][]byte{make([]byte, 1)})
		return errors.Is(err, io.EOF)
	}, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return from.Unacked() == 0 }, 10*time.Second, time.Millisecond)
}

// between stands between two streams and holds what goes from the first to the second.
type between struct {
	from, to net.Conn
}

// streamsWith returns two streams with somebody between, who for the handshake only passes on.
func streamsWith(t *testing.T) (a, b mesh.Stream, m between) {
	a1, m1 := tcpPair(t)
	m2, b1 := tcpPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	pass := func(from, to net.Conn) {
		context.AfterFunc(ctx, func() { _ = from.SetReadDeadline(time.Unix(1, 0)) })
		wg.Go(func() { _, _ = io.Copy(to, from) })
	}
	pass(m1, m2)
	pass(m2, m1)
	a, b = streamsOver(t, a1, b1)
	cancel()
	wg.Wait()
	require.NoError(t, m1.SetReadDeadline(time.Time{}))
	return a, b, between{m1, m2}
}

// record takes what the first stream has written.
func (m between) record(t *testing.T) []byte {
	b := make([]byte, 4096)
	n, err := m.from.Read(b)
	require.NoError(t, err)
	return b[:n]
}

func TestTLSStreamGoesOnWithHalfARecord(t *testing.T) {
	a, b, m := streamsWith(t)
	want := []byte("a message of one record")
	_, err := a.Write([][]byte{want[:3], want[3:]}, false)
	require.NoError(t, err)
	cipher := m.record(t)
	require.NotContains(t, string(cipher), "message")
	require.Equal(t, uint16(tls.VersionTLS12), uint16(cipher[1])<<8|uint16(cipher[2]))
	got := make([]byte, 100)
	for i, c := range cipher {
		_, err := m.to.Write([]byte{c})
		require.NoError(t, err)
		if i < len(cipher)-1 {
			_, err = b.Read([][]byte{got})
			require.ErrorIs(t, err, mesh.ErrAgain)
		}
	}
	n := 0
	require.Eventually(t, func() bool { n, err = b.Read([][]byte{got}); return err == nil }, 10*time.Second, time.Millisecond)
	require.Equal(t, want, got[:n])
}

func TestTLSStreamFindsEveryChange(t *testing.T) {
	for bit := range 8 {
		a, b, m := streamsWith(t)
		_, err := a.Write([][]byte{[]byte("a message")}, false)
		require.NoError(t, err)
		cipher := m.record(t)
		cipher[5+bit] ^= 1 << bit
		_, err = m.to.Write(cipher)
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			_, err = b.Read([][]byte{make([]byte, 100)})
			return !errors.Is(err, mesh.ErrAgain)
		}, 10*time.Second, time.Millisecond)
		require.ErrorIs(t, err, transport.ErrCorrupt)
		_, err = b.Read([][]byte{make([]byte, 100)})
		require.ErrorIs(t, err, transport.ErrCorrupt, "and stays so")
	}
}

func TestTLSStreamWithAPeerThatIsGone(t *testing.T) {
	a, b, m := streamsWith(t)
	_ = m.to.Close()
	_ = m.from.Close()
	require.Eventually(t, func() bool {
		_, err := b.Read([][]byte{make([]byte, 100)})
		return !errors.Is(err, mesh.ErrAgain)
	}, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool {
		_, err := a.Write([][]byte{make([]byte, 100_000)}, false)
		return err != nil && !errors.Is(err, mesh.ErrAgain)
	}, 10*time.Second, time.Millisecond)
	a.Finish()
	require.Zero(t, a.Unacked())
}

// TestTLSOutlivesALateWrite: where this process does not run between the setting of a deadline and
// a write, the control stream of a rank goes on.
func TestTLSOutlivesALateWrite(t *testing.T) {
	with := withTLS(t)
	guard := func(r transport.Rank) *secure.Guard {
		c := Config{Identity: rendezvous.Identity{Rank: r}}
		with(&c)
		g, err := secure.NewGuard(c.Security, "", r, nil)
		require.NoError(t, err)
		return g
	}
	dialled, accepted := tcpPair(t)
	var near net.Conn
	var openErr error
	var wg sync.WaitGroup
	wg.Go(func() { near, openErr = guard(1).Open(&wire{TCPConn: dialled}, 0, secure.Session{}) })
	far, _, err := guard(0).Admit(&wire{TCPConn: accepted}, secure.Session{})
	wg.Wait()
	require.NoError(t, errors.Join(openErr, err))
	for range 3 {
		require.NoError(t, near.SetWriteDeadline(time.Now().Add(-time.Second)))
		_, err := near.Write([]byte("alive"))
		require.NoError(t, err)
		got := make([]byte, 5)
		_, err = io.ReadFull(far, got)
		require.NoError(t, err)
		require.Equal(t, "alive", string(got))
	}
}
