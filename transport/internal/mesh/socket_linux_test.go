//go:build linux && !purego

package mesh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// write writes all of data, and returns when the other end's kernel has it.
func (s *Socket) write(t *testing.T, data []byte, to *Socket) {
	before, err := unix.IoctlGetInt(to.fd, unix.TIOCINQ)
	require.NoError(t, err)
	want := before + len(data)
	for len(data) > 0 {
		n, err := s.Write([][]byte{data}, false)
		if err != ErrAgain {
			require.NoError(t, err)
		}
		data = data[n:]
	}
	require.Eventually(t, func() bool {
		n, err := unix.IoctlGetInt(to.fd, unix.TIOCINQ)
		return err == nil && n == want
	}, 10*time.Second, 100*time.Microsecond)
}

// wakes tells whether a reader that knows of n bytes to come would end its sleep now.
func (s *Socket) wakes(t *testing.T, n int) bool {
	var sleeper Sleeper
	require.False(t, s.AwaitBytes(&sleeper, n))
	ready, err := unix.Poll(sleeper.fds, 0)
	require.NoError(t, err)
	return ready > 0
}

// TestReaderSleepsUntilItIsWorthIt: for fewer bytes than it waits for it sleeps on, up to as many
// as are worth waking for, and wakes when all are there that will come, or the peer is gone.
func TestReaderSleepsUntilItIsWorthIt(t *testing.T) {
	near, far := socketPair(t)
	a, b := near.(*Socket), far.(*Socket)
	defer a.Close()
	defer b.Close()
	require.False(t, b.wakes(t, 1))
	a.write(t, make([]byte, 100), b)
	require.True(t, b.wakes(t, 1))
	require.True(t, b.wakes(t, 100))
	require.False(t, b.wakes(t, 101))
	require.False(t, b.wakes(t, 10<<20))
	a.write(t, make([]byte, worthWaking-100), b)
	require.True(t, b.wakes(t, 10<<20))
	n, err := b.Read([][]byte{make([]byte, worthWaking)})
	require.NoError(t, err)
	require.Equal(t, worthWaking, n)
	a.write(t, make([]byte, 10), b)
	require.False(t, b.wakes(t, 11), "the mark holds after bytes were read")
	var sleeper Sleeper
	b.AwaitRead(&sleeper)
	ready, err := unix.Poll(sleeper.fds, 0)
	require.NoError(t, err)
	require.Equal(t, 1, ready, "AwaitRead takes it back")
	require.False(t, b.wakes(t, 11))
	a.Finish()
	require.Eventually(t, func() bool { return b.wakes(t, 11) }, 10*time.Second, 100*time.Microsecond, "nothing more will come")
}

// TestOperationsRestAtOnceAfterALongRest, and spin again after a short one.
func TestOperationsRestAtOnceAfterALongRest(t *testing.T) {
	m := &Mesh{spins: 7}
	require.Zero(t, m.spinsAfter(longPark+1))
	require.Equal(t, 7, m.spinsAfter(longPark))
}

// TestGoroutinesOfThisProcessAreNoSignOfABusyMachine: only the yields to other threads count,
// however long one to other goroutines takes.
func TestGoroutinesOfThisProcessAreNoSignOfABusyMachine(t *testing.T) {
	e := spinPolicy{start: time.Now(), long: -1} // every yield that counts is a long one
	require.True(t, e.yield(goschedEvery))
	require.True(t, e.allowed(time.Now()))
	require.False(t, e.yield(1))
	require.False(t, e.allowed(e.start), "the pause has begun")
}
