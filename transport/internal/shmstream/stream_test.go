//go:build linux && !purego

package shmstream

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/switchyard-moe/switchyard/transport"
)

// builder returns the end of one of two ranks.
func builder(t *testing.T, rank int, opened chan Opened) *Builder {
	a, err := NewArena(1 << 20)
	require.NoError(t, err)
	t.Cleanup(a.Close)
	l, err := Listen()
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return &Builder{
		Terms: Terms{Rank: transport.Rank(rank), Size: 2, RingBytes: minRing},
		Arena: a, Listen: l, Log: slog.New(slog.DiscardHandler), Opened: opened,
	}
}

// pair opens the stream between two ranks, which change may alter before.
func pair(t *testing.T, change func(b [2]*Builder)) (ends [2]Opened) {
	var b [2]*Builder
	var opened [2]chan Opened
	for r := range b {
		opened[r] = make(chan Opened)
		b[r] = builder(t, r, opened[r])
	}
	if change != nil {
		change(b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	b[0].Open(ctx, map[transport.Rank]string{1: b[1].Listen.Addr()})
	b[1].Open(ctx, map[transport.Rank]string{0: b[0].Listen.Addr()})
	for r := range ends {
		ends[r] = <-opened[r]
		require.NoError(t, ends[r].Err)
	}
	cancel()
	for r := range b {
		b[r].Wait()
	}
	t.Cleanup(func() {
		for r := range ends {
			ends[r].Stream.Close()
			_ = ends[r].Control.Close()
		}
	})
	return ends
}

func TestPeersReadEachOthersArena(t *testing.T) {
	var arenas [2]*Arena
	ends := pair(t, func(b [2]*Builder) { arenas = [2]*Arena{b[0].Arena, b[1].Arena} })
	for r := range ends {
		mine := arenas[r].Alloc(5000)
		copy(mine[4990:], "in place")
		at, ok := ends[r].Stream.Offset(mine[4990:4998])
		require.True(t, ok)
		view, err := ends[1-r].Stream.View(at, 8)
		require.NoError(t, err)
		require.Equal(t, "in place", string(view))
		require.True(t, arenas[r].Free(mine))
	}
}

func TestNothingOutsideAnArenaCanBeViewed(t *testing.T) {
	l := pair(t, nil)[0].Stream
	for _, c := range [][2]uint64{{0, 1<<20 + 1}, {1 << 20, 1}, {^uint64(0), 2}, {1, ^uint64(0)}, {1 << 63, 1 << 63}} {
		_, err := l.View(c[0], c[1])
		require.ErrorIs(t, err, errOutside, "%v", c)
	}
	_, err := l.View(1<<20-1, 1)
	require.NoError(t, err)
}

func TestArenasOfPeersCannotBeMappedForWriting(t *testing.T) {
	a, err := NewArena(granule)
	require.NoError(t, err)
	defer a.Close()
	_, err = unix.Mmap(a.fd, 0, granule, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.ErrorIs(t, err, unix.EPERM)
	require.Error(t, unix.Ftruncate(a.fd, 0), "it cannot shrink")
}

func TestMemoryIsCheckedBeforeItIsMapped(t *testing.T) {
	fd, memory, err := create(granule, sizeSeals)
	require.NoError(t, err)
	defer closeAll(fd)
	defer func() { _ = unix.Munmap(memory) }()
	_, err = adopt(fd, 2*granule, sizeSeals, unix.PROT_READ)
	require.ErrorContains(t, err, "4096 bytes, want 8192")
	_, err = adopt(fd, granule, streamSeals, unix.PROT_READ)
	require.ErrorContains(t, err, "seals")
	file, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, file.Truncate(granule))
	_, err = adopt(int(file.Fd()), granule, sizeSeals, unix.PROT_READ)
	require.ErrorIs(t, err, transport.ErrProtocol, "a file can shrink beneath a reader")
}

func TestFinishIsReadAfterTheLastByte(t *testing.T) {
	ends := pair(t, nil)
	_, err := ends[0].Stream.Write([][]byte{[]byte("last")}, false)
	require.NoError(t, err)
	ends[0].Stream.Finish()
	b := make([]byte, 10)
	n, err := ends[1].Stream.Read([][]byte{b})
	require.NoError(t, err)
	require.Equal(t, "last", string(b[:n]))
	_, err = ends[1].Stream.Read([][]byte{b})
	require.ErrorIs(t, err, io.EOF)
}

// TestOtherProgramsAreDropped connects with nonsense, with the hello of another job and with too
// few descriptors, before the peer comes.
func TestOtherProgramsAreDropped(t *testing.T) {
	pair(t, func(b [2]*Builder) {
		wrong := b[1].hello(0)
		wrong.Session[0]++
		var other, good [helloBytes]byte
		wrong.put(other[:])
		right := b[1].hello(0)
		right.put(good[:])
		for _, first := range [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 1000), other[:], nil} {
			c, err := net.Dial("unix", b[0].Listen.Addr())
			require.NoError(t, err)
			t.Cleanup(func() { _ = c.Close() })
			_, _ = c.Write(first)
		}
		c, err := net.Dial("unix", b[0].Listen.Addr())
		require.NoError(t, err)
		_, err = c.Write(good[:])
		require.NoError(t, err)
		_, err = c.Write([]byte{6}) // announces six descriptors and brings none
		require.NoError(t, err)
		require.NoError(t, c.(*net.UnixConn).CloseWrite())
		t.Cleanup(func() { _ = c.Close() })
	})
}

func TestTooManyDescriptorsAreClosed(t *testing.T) {
	l, err := Listen()
	require.NoError(t, err)
	defer l.Close()
	d, err := net.Dial("unix", l.Addr())
	require.NoError(t, err)
	defer d.Close()
	c, err := l.l.AcceptUnix()
	require.NoError(t, err)
	defer c.Close()
	fd, err := bell()
	require.NoError(t, err)
	defer closeAll(fd)
	require.NoError(t, pass(d.(*net.UnixConn), fd, fd, fd, fd, fd, fd, fd, fd))
	before := openDescriptors(t)
	_, err = receive(c, 6)
	require.ErrorIs(t, err, transport.ErrProtocol)
	require.LessOrEqual(t, openDescriptors(t), before, "the garbage collector may close others meanwhile")
}

func openDescriptors(t *testing.T) int {
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(all)
}

const dialName = "SWITCHYARD_TEST_DIAL"

// TestDialAsAnotherUser is not a test of its own: it is the process that TestAnotherUserIsRefused
// starts.
func TestDialAsAnotherUser(t *testing.T) {
	name := os.Getenv(dialName)
	if name == "" {
		t.Skip("only as a child process")
	}
	c, err := net.Dial("unix", name)
	require.NoError(t, err)
	require.ErrorIs(t, checkUser(c.(*net.UnixConn)), errOtherUser)
	_, err = io.ReadAll(c) // until the other side has refused
	require.NoError(t, err)
}

func TestAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	l, err := Listen()
	require.NoError(t, err)
	defer l.Close()
	self, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	dir, err := os.MkdirTemp("/tmp", "switchyard") // other users cannot enter the test's own
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	binary := dir + "/test"
	require.NoError(t, os.WriteFile(binary, self, 0o755))
	child := exec.Command(binary, "-test.run=^TestDialAsAnotherUser$")
	child.Dir = "/"
	child.Env = append(os.Environ(), dialName+"="+l.Addr())
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out := make(chan []byte, 1)
	go func() {
		text, _ := child.CombinedOutput()
		out <- text
	}()
	require.NoError(t, l.l.SetDeadline(time.Now().Add(20*time.Second)))
	c, err := l.l.AcceptUnix()
	require.NoError(t, err)
	require.ErrorIs(t, checkUser(c), errOtherUser)
	require.NoError(t, c.Close())
	require.Contains(t, string(<-out), "PASS")
}

// TestRefusalSaysWhy: in place of a hello, of descriptors, and of the consent.
func TestRefusalSaysWhy(t *testing.T) {
	why := fmt.Errorf("ring size\x00\n: %w", transport.ErrMismatch)
	reads := []func(c *net.UnixConn) error{
		func(c *net.UnixConn) error { _, err := readHello(c); return err },
		func(c *net.UnixConn) error { _, err := receive(c, 6); return err },
		awaitReady,
	}
	for i, read := range reads {
		l, err := Listen()
		require.NoError(t, err)
		d, err := net.Dial("unix", l.Addr())
		require.NoError(t, err)
		c, err := l.l.AcceptUnix()
		require.NoError(t, err)
		refuse(d.(*net.UnixConn), why, i == 0)
		err = read(c)
		require.ErrorIs(t, err, ErrRefused)
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.ErrorContains(t, err, `ring size\x00\n`)
		require.False(t, isTransient(err))
		_ = d.Close()
		_ = c.Close()
		l.Close()
	}
}

// TestStreamBelongsToNeitherBeforeBothHaveIt: a rank that dials and then cannot map the stream
// leaves nothing behind at its peer.
func TestStreamBelongsToNeitherBeforeBothHaveIt(t *testing.T) {
	opened := make(chan Opened, 1)
	b := builder(t, 0, opened)
	ctx, cancel := context.WithCancel(t.Context())
	b.Open(ctx, map[transport.Rank]string{1: ""})
	other := builder(t, 1, nil)
	other.ctx = ctx
	d, err := net.Dial("unix", b.Listen.Addr())
	require.NoError(t, err)
	c := d.(*net.UnixConn)
	mine := other.hello(0)
	require.NoError(t, writeHello(c, &mine))
	theirs, err := readHello(c)
	require.NoError(t, err)
	stream, err := offer(c, other.Arena, &theirs) // the peer has everything now
	require.NoError(t, err)
	refuse(c, unix.ENOMEM, false)
	require.NoError(t, c.CloseWrite())
	_, _ = io.ReadAll(c) // until it has let go
	require.Empty(t, opened)
	require.True(t, b.claim(1, false), "the peer may come again")
	stream.Close()
	cancel()
	b.Wait()
	_ = c.Close()
}
