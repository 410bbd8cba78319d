package mesh

import (
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// atLast is what a test waits for something that must happen at last, on a machine that is busy
// with other things.
const atLast = 2 * time.Minute

// asleep is how many operations of a mesh sleep.
func (t *Mesh) asleep() int {
	t.sleepers.mu.Lock()
	defer t.sleepers.mu.Unlock()
	return len(t.sleepers.ops)
}

// TestFewOperationsSpinAtATime: the other operations that wait sleep, and leave the processor to
// the goroutines that hear signs of life.
func TestFewOperationsSpinAtATime(t *testing.T) {
	const waiters = 8
	ends := openAll(t, 2, nil)
	ends[1].spins, ends[1].spin.long = 1<<30, time.Hour // for good, however long a turn takes
	var wg sync.WaitGroup
	for tag := range transport.Tag(waiters) {
		wg.Go(func() {
			_, err := ends[1].Recv(t.Context(), 0, tag, make([]byte, 1))
			require.NoError(t, err)
		})
	}
	require.Eventually(t, func() bool { return ends[1].asleep() == waiters-maxSpinning }, atLast, time.Millisecond)
	for tag := range transport.Tag(waiters) {
		require.NoError(t, ends[0].Send(t.Context(), 1, tag, []byte{1}))
	}
	wg.Wait()
	require.Zero(t, ends[1].spinning.Load(), "the right to spin is given back")
}

// TestDataIsASignOfLife: a peer whose messages come is alive, however late its signs of life are.
func TestDataIsASignOfLife(t *testing.T) {
	ends := openAll(t, 2, func(c *Config) { c.Heartbeat, c.DeadAfter = time.Hour, 2*time.Hour })
	p := ends[0].peers[1]
	p.heard.Store(false)
	require.NoError(t, ends[1].Send(t.Context(), 0, 1, []byte("data")))
	_, err := ends[0].Recv(t.Context(), 1, 1, make([]byte, 4))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !p.heard.Load() }, atLast, time.Millisecond, "the monitor sees it")

	m := New(config(0, 2)) // not started: the looks are ours
	now := time.Now()
	m.peers[1].lastHeard.Store(now.Add(-time.Hour).UnixNano())
	m.peers[1].heard.Store(true)
	m.findSilent(now)
	require.Nil(t, m.fault.Load())
	m.findSilent(now.Add(m.cfg.DeadAfter + 1))
	require.ErrorIs(t, m.fault.Load().err, transport.ErrPeerDead)
}

// fullConn takes room bytes, and then finds every deadline passed.
type fullConn struct {
	net.Conn
	room int
	got  []byte
}

func (c *fullConn) Write(b []byte) (int, error) {
	n := min(len(b), c.room)
	c.room -= n
	c.got = append(c.got, b[:n]...)
	if n < len(b) {
		return n, os.ErrDeadlineExceeded
	}
	return n, nil
}

// TestHalfAControlFrameIsCompleted: a stream that was full in the middle of a frame goes on with
// the rest of that one.
func TestHalfAControlFrameIsCompleted(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c := &fullConn{Conn: near, room: headerBytes / 2}
	p := New(config(0, 2)).peers[1]
	p.openControl(c)
	p.sendControl(kindHeartbeat, nil)
	p.sendControl(kindHeartbeat, nil) // dropped: there is no room yet
	c.room = 10 * headerBytes
	p.sendControl(kindFarewell, nil)
	require.Len(t, c.got, 2*headerBytes)
	for i, kind := range []frameKind{kindHeartbeat, kindFarewell} {
		h, err := decodeHeader(c.got[i*headerBytes:])
		require.NoError(t, err)
		require.Equal(t, kind, h.kind)
		require.Equal(t, uint64(i+1), h.seq)
	}
}

// TestNoTimeout: an operation without a bound waits until its peer comes, or its context ends.
func TestNoTimeout(t *testing.T) {
	m := New(config(0, 2))
	op := &operation{t: m, since: time.Now().Add(-1000 * time.Hour)}
	m.sleepers.add(op)
	m.sleepers.expire(time.Now(), transport.NoTimeout)
	require.False(t, op.timedOut.Load())
	m.sleepers.expire(time.Now(), transport.DefaultOpTimeout)
	require.True(t, op.timedOut.Load())
}
