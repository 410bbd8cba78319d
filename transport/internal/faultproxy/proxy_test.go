package faultproxy_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport/internal/faultproxy"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const patience = 20 * time.Second

// rig is a proxy, and the connections of a client and of the target through it.
type rig struct {
	*testing.T
	proxy  *faultproxy.Proxy
	listen net.Listener
}

func newRig(t *testing.T) *rig {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p, err := faultproxy.Listen(l.Addr().String(), 1)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close(); p.Close(); _ = l.Close() })
	return &rig{t, p, l}
}

func (r *rig) connect() (client, target net.Conn) {
	r.Helper()
	client = r.dial()
	target, err := r.listen.Accept()
	require.NoError(r, err)
	r.keep(target)
	// The target may accept before the proxy's own dialling has returned.
	r.eventually(func() bool { return r.proxy.Open() > 0 })
	return client, target
}

func (r *rig) dial() net.Conn {
	r.Helper()
	c, err := net.Dial("tcp", r.proxy.Addr())
	require.NoError(r, err)
	return r.keep(c)
}

func (r *rig) keep(c net.Conn) net.Conn {
	r.Cleanup(func() { _ = c.Close() })
	require.NoError(r, c.SetDeadline(time.Now().Add(patience)))
	return c
}

// write writes in the background, since nobody may read yet.
func (r *rig) write(c net.Conn, b []byte) {
	go func() { _, _ = c.Write(b) }()
}

func (r *rig) expect(c net.Conn, want []byte) {
	r.Helper()
	got := make([]byte, len(want))
	_, err := io.ReadFull(c, got)
	require.NoError(r, err)
	require.True(r, bytes.Equal(want, got))
}

// silent demands that nothing comes for a moment. It cannot fail where it should not.
func (r *rig) silent(c net.Conn) {
	r.Helper()
	require.NoError(r, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(r, err, os.ErrDeadlineExceeded)
	require.NoError(r, c.SetReadDeadline(time.Now().Add(patience)))
}

func (r *rig) eventually(what func() bool) {
	r.Helper()
	require.Eventually(r, what, patience, time.Millisecond)
}

func requireReset(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Logf("a reset shows as %v here", err)
	}
}

func TestItCarriesBothWaysAndHalfCloses(t *testing.T) {
	r := newRig(t)
	client, target := r.connect()
	big := bytes.Repeat([]byte("0123456789"), 300_000)
	r.write(client, big)
	r.write(target, big)
	r.expect(target, big)
	r.expect(client, big)
	require.NoError(t, client.(*net.TCPConn).CloseWrite())
	_, err := target.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	r.write(target, []byte("still open"))
	r.expect(client, []byte("still open"))
	require.EqualValues(t, len(big), r.proxy.Tx.Bytes())
	require.NoError(t, target.Close())
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	r.eventually(func() bool { return r.proxy.Open() == 0 })
	require.Equal(t, 1, r.proxy.Accepted())
}

func TestPause(t *testing.T) {
	r := newRig(t)
	client, target := r.connect()
	r.proxy.Tx.Pause()
	r.write(client, []byte("held"))
	r.write(target, []byte("passes"))
	r.expect(client, []byte("passes"))
	r.silent(target)
	r.proxy.Tx.Resume()
	r.expect(target, []byte("held"))
}

func TestBlackhole(t *testing.T) {
	r := newRig(t)
	client, target := r.connect()
	r.proxy.Rx.Blackhole()
	lost := make([]byte, 8<<20) // more than any buffer on the way holds
	_, err := target.Write(lost)
	require.NoError(t, err, "the sender sees no error")
	r.write(client, []byte("the other way passes"))
	r.expect(target, []byte("the other way passes"))
	r.eventually(func() bool { return r.proxy.Rx.Lost() == int64(len(lost)) })
	r.silent(client)
	r.proxy.Rx.Unblackhole()
	r.write(target, []byte("found"))
	r.expect(client, []byte("found"))
}

func TestBlackholeHidesTheEnd(t *testing.T) {
	r := newRig(t)
	client, target := r.connect()
	r.proxy.Rx.Blackhole()
	require.NoError(t, target.(*net.TCPConn).SetLinger(0))
	require.NoError(t, target.Close())
	r.silent(client)
	r.proxy.Rx.Unblackhole()
	requireReset(t, client)
}

func TestDelay(t *testing.T) {
	r := newRig(t)
	client, target := r.connect()
	const late = 50 * time.Millisecond
	r.proxy.Tx.Delay(late, 10*time.Millisecond)
	start := time.Now()
	r.write(client, []byte("late"))
	r.expect(target, []byte("late"))
	require.GreaterOrEqual(t, time.Since(start), late)
	r.proxy.Tx.Delay(0, time.Millisecond)
	var all []byte
	for i := range 2000 {
		all = append(all, byte(i), byte(i>>8))
	}
	go func() {
		for i := range len(all) / 2 {
			_, _ = client.Write(all[2*i : 2*i+2])
		}
	}()
	r.expect(target, all)
}

func TestModify(t *testing.T) {
	r := newRig(t)
	client, target := r.connect()
	r.proxy.Tx.Modify(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("l"), []byte("LL")) })
	r.write(client, []byte("hello"))
	r.expect(target, []byte("heLLLLo"))
	r.proxy.Tx.Modify(nil)
	r.write(client, []byte("hello"))
	r.expect(target, []byte("hello"))
}

func TestPauseAccept(t *testing.T) {
	r := newRig(t)
	r.proxy.PauseAccept()
	client := r.dial()
	r.write(client, []byte("patient"))
	r.silent(client)
	require.Zero(t, r.proxy.Open())
	r.proxy.ResumeAccept()
	target, err := r.listen.Accept()
	require.NoError(t, err)
	r.expect(r.keep(target), []byte("patient"))
}

func TestResetListener(t *testing.T) {
	r := newRig(t)
	client, target := r.connect()
	r.proxy.ResetListener()
	requireReset(t, client)
	requireReset(t, target)
	_, err := net.Dial("tcp", r.proxy.Addr())
	require.Error(t, err)
	require.NoError(t, r.proxy.Restore())
	require.NoError(t, r.proxy.Restore())
	client, target = r.connect()
	r.write(client, []byte("again"))
	r.expect(target, []byte("again"))
}

func TestResetConnections(t *testing.T) {
	r := newRig(t)
	client, target := r.connect()
	r.proxy.ResetConnections()
	requireReset(t, client)
	requireReset(t, target)
	r.connect()
}

func TestATargetThatDoesNotListen(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.listen.Close())
	c, err := net.Dial("tcp", r.proxy.Addr())
	if err != nil {
		return // the reset was faster than the dialling
	}
	requireReset(t, r.keep(c))
}

func TestCloseEndsWhatIsHeld(t *testing.T) {
	r := newRig(t)
	client, target := r.connect()
	r.proxy.Tx.Pause()
	r.proxy.Rx.Delay(time.Hour, 0)
	r.proxy.PauseAccept()
	for _, c := range []net.Conn{client, target} {
		_, err := c.Write([]byte("held"))
		require.NoError(t, err)
	}
	r.proxy.Close()
	requireReset(t, client)
	requireReset(t, target)
}
