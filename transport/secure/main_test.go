package secure_test

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
	"github.com/switchyard-moe/switchyard/transport/secure/securetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// prompt bounds the time until both sides know of a refusal, on a loaded machine too.
const prompt = 10 * secure.HandshakeTimeout

const job = "job.1"

// connection returns both ends of a connection over loopback.
func connection(t testing.TB) (dialled, accepted net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dialled, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	accepted, err = l.Accept()
	require.NoError(t, err)
	for _, c := range []net.Conn{dialled, accepted} {
		require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		t.Cleanup(func() { _ = c.Close() })
	}
	return dialled, accepted
}

// side is one end after its handshake.
type side struct {
	conn net.Conn
	peer secure.Peer
	err  error
}

// together runs both sides of a handshake. One that fails closes, as its callers do.
func together(t testing.TB, open, admit func(net.Conn) side) (opened, admitted side) {
	d, a := connection(t)
	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if opened = open(d); opened.err != nil {
			_ = d.Close()
		}
	}()
	if admitted = admit(a); admitted.err != nil {
		_ = a.Close()
	}
	<-done
	require.Less(t, time.Since(start), prompt)
	return opened, admitted
}

func opens(g *secure.Guard, to transport.Rank, s secure.Session) func(net.Conn) side {
	return func(c net.Conn) side {
		conn, err := g.Open(c, to, s)
		return side{conn: conn, err: err}
	}
}

func admits(g *secure.Guard, s secure.Session) func(net.Conn) side {
	return func(c net.Conn) side {
		conn, peer, err := g.Admit(c, s)
		return side{conn, peer, err}
	}
}

func guard(t testing.TB, c secure.Config, job string, rank transport.Rank) *secure.Guard {
	g, err := secure.NewGuard(c, job, rank, nil)
	require.NoError(t, err)
	return g
}

func authority(t testing.TB) *securetest.Authority {
	a, err := securetest.NewAuthority()
	require.NoError(t, err)
	return a
}

func issue(t testing.TB, a *securetest.Authority, l securetest.Leaf) *tls.Certificate {
	cert, err := a.Issue(l)
	require.NoError(t, err)
	return cert
}

// requireTalk requires that what one side sends arrives at the other.
func requireTalk(t testing.TB, a, b side) {
	require.NoError(t, a.err)
	require.NoError(t, b.err)
	for _, c := range [][2]net.Conn{{a.conn, b.conn}, {b.conn, a.conn}} {
		_, err := c[0].Write([]byte("hello"))
		require.NoError(t, err)
		heard := make([]byte, 5)
		_, err = c[1].Read(heard)
		require.NoError(t, err)
		require.Equal(t, "hello", string(heard))
	}
}
