package inproc

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	me, peer = 0, 1
	eager    = 1000
)

func begin(ops int) *group {
	g := new(group)
	g.begin(ops)
	return g
}

func list(s ...string) [][]byte {
	var bufs [][]byte
	for _, s := range s {
		bufs = append(bufs, []byte(s))
	}
	return bufs
}

func text(bufs [][]byte) string {
	s := ""
	for _, b := range bufs {
		s += string(b)
	}
	return s
}

// done expects every operation of g to be done without waiting.
func done(t *testing.T, g *group) {
	t.Helper()
	stuck, err := g.wait(context.Background(), time.Nanosecond)
	require.NoError(t, err)
	require.Equal(t, -1, stuck)
}

func TestReceivePostedFirst(t *testing.T) {
	b, room := newInbox(me, 2, 0), list("....", "", "....")
	r, s := begin(1), begin(1)
	require.NoError(t, b.recv(r, peer, 5, room))
	require.NoError(t, b.send(s, peer, 5, 0, list("ab", "cdef")))
	done(t, s)
	done(t, r)
	n, err := r.result(0)
	require.NoError(t, err)
	require.Equal(t, 6, n)
	require.Equal(t, "abcdef..", text(room))
}

func TestSenderWaits(t *testing.T) {
	b, room := newInbox(me, 2, 0), list("..", "..")
	s, r := begin(1), begin(1)
	require.NoError(t, b.send(s, peer, 5, eager, list("a", "bcd")))
	require.NoError(t, b.recv(r, peer, 5, room))
	done(t, r)
	done(t, s)
	require.Equal(t, "abcd", text(room))
}

func TestShortMessagesAreBufferedUpToTheLimit(t *testing.T) {
	b := newInbox(me, 2, 2*(3+64))
	s := begin(4)
	require.NoError(t, b.send(s, peer, 1, eager, list("one")))
	require.NoError(t, b.send(s, peer, 1, eager, list("two")))
	require.NoError(t, b.send(s, peer, 1, eager, list("thr")))
	stuck, err := s.wait(context.Background(), time.Nanosecond)
	require.Equal(t, 2, stuck, "the third waits, and is taken back")
	require.ErrorIs(t, err, transport.ErrTimeout)
	for _, want := range []string{"one", "two"} {
		r, room := begin(1), list("...")
		require.NoError(t, b.recv(r, peer, 1, room))
		done(t, r)
		require.Equal(t, want, text(room))
	}
}

func TestOwnMessagesAreBufferedWithoutLimit(t *testing.T) {
	b, body := newInbox(me, 2, 0), [][]byte{make([]byte, 1<<20)}
	for range 3 {
		s := begin(1)
		require.NoError(t, b.send(s, me, 1, 0, body))
		done(t, s)
	}
}

func TestTruncatedLeavesBoth(t *testing.T) {
	b := newInbox(me, 2, 1000)
	r, s := begin(1), begin(1)
	require.NoError(t, b.recv(r, peer, 1, list("..")))
	require.ErrorIs(t, b.send(s, peer, 1, eager, list("abc")), transport.ErrTruncated)
	s.abandon()
	cause := errors.New("broken")
	b.fail(cause)
	b.fail(errors.New("too late"))
	done(t, r)
	_, err := r.result(0)
	require.Equal(t, cause, err)
	require.Equal(t, cause, b.send(begin(1), peer, 1, eager, nil))
	require.Equal(t, cause, b.recv(begin(1), peer, 1, nil))
}

func TestOwnerCloses(t *testing.T) {
	b := newInbox(me, 3, 1000)
	r, s := begin(2), begin(1)
	require.NoError(t, b.recv(r, peer, 1, nil))
	require.NoError(t, b.recv(r, me, 1, nil))
	require.False(t, b.close())
	done(t, r)
	for i := range 2 {
		_, err := r.result(i)
		require.ErrorIs(t, err, transport.ErrClosed)
	}
	require.ErrorIs(t, b.recv(begin(1), peer, 1, nil), transport.ErrClosed)
	require.ErrorIs(t, b.send(s, peer, 1, eager, nil), transport.ErrPeerClosed)
	s.abandon()

	b, s = newInbox(me, 3, 0), begin(1)
	require.NoError(t, b.send(s, peer, 1, eager, list("waits")))
	require.True(t, b.close(), "somebody was sending")
	s.abandon()
}

func TestSenderLeaves(t *testing.T) {
	b, buffered, waits := newInbox(me, 3, 100), begin(1), begin(1)
	require.NoError(t, b.send(buffered, peer, 1, eager, list("kept")))
	require.NoError(t, b.send(waits, peer, 1, 0, list("waits")))
	require.False(t, b.leave(peer))
	done(t, waits)
	_, err := waits.result(0)
	require.ErrorIs(t, err, transport.ErrClosed)
	require.ErrorIs(t, b.send(begin(1), peer, 1, eager, nil), transport.ErrClosed)

	r, room := begin(1), list("....")
	require.NoError(t, b.recv(r, peer, 1, room))
	done(t, r)
	require.Equal(t, "kept", text(room))
	require.ErrorIs(t, b.recv(begin(1), peer, 1, nil), transport.ErrPeerClosed)

	r = begin(1)
	require.NoError(t, b.recv(r, 2, 1, nil))
	require.True(t, b.leave(2), "the owner was waiting")
	r.abandon()
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r := newInbox(me, 2, 0), begin(3)
		for tag := range transport.Tag(3) {
			require.NoError(t, b.recv(r, peer, tag, nil))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.NoError(t, b.send(begin(1), peer, 0, 0, nil))
		stuck, err := r.wait(ctx, time.Minute)
		require.Equal(t, 1, stuck)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// TestEveryMessageOnce has senders and receivers give up at random: a message whose send succeeds
// is received once, in order.
func TestEveryMessageOnce(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const count = 3000
	b := newInbox(me, 2, 500)
	retry := func(r *rand.Rand, start func(g *group) error) {
		for {
			ctx, cancel := context.WithCancel(context.Background())
			if r.IntN(2) == 0 {
				go cancel()
			}
			g := begin(1)
			if err := start(g); err != nil {
				panic(err)
			}
			_, err := g.wait(ctx, time.Minute)
			cancel()
			if err == nil {
				return
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(seed, 1))
		for i := range count {
			body := []byte{byte(i), byte(i >> 8), 0, 0, 0}
			retry(r, func(g *group) error { return b.send(g, peer, 1, 3+r.IntN(3), [][]byte{body}) })
		}
	})
	got := make([]int, 0, count)
	wg.Go(func() {
		r := rand.New(rand.NewPCG(seed, 2))
		for range count {
			room := make([]byte, 5)
			retry(r, func(g *group) error { return b.recv(g, peer, 1, [][]byte{room[:1], room[1:]}) })
			got = append(got, int(room[0])|int(room[1])<<8)
		}
	})
	wg.Wait()
	for i, v := range got {
		require.Equal(t, i, v)
	}
}

func TestSteadyTrafficDoesNotAllocate(t *testing.T) {
	b, s, r := newInbox(me, 2, 1<<20), new(group), new(group)
	body, tag := [][]byte{make([]byte, 500)}, transport.Tag(0)
	round := func() {
		tag++
		for range 3 {
			s.begin(1)
			_ = b.send(s, peer, tag, eager, body)
			_, _ = s.wait(context.Background(), time.Minute)
		}
		r.begin(3)
		for range 3 {
			_ = b.recv(r, peer, tag, body)
		}
		_, _ = r.wait(context.Background(), time.Minute)
	}
	round()
	require.Zero(t, testing.AllocsPerRun(1000, round))
}
