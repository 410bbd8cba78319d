package secure

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// door is a listener at which tests knock without a network, so that time can be made up.
type door struct {
	come   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newDoor() *door { return &door{come: make(chan net.Conn), closed: make(chan struct{})} }

func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.come:
		return c, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

func (d *door) Close() error   { d.once.Do(func() { close(d.closed) }); return nil }
func (d *door) Addr() net.Addr { return nil }

// knock returns the far end of a new connection.
func (d *door) knock() net.Conn {
	near, far := net.Pipe()
	d.come <- near
	return far
}

// ended reports whether the near end of c has been closed.
func ended(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Nanosecond))
	_, err := c.Read(make([]byte, 1))
	var waits net.Error
	return !(errors.As(err, &waits) && waits.Timeout())
}

// reception is a Receive that knows who sends a byte, and keeps their connections.
type reception struct {
	*door
	dropped atomic.Int32
	known   atomic.Int32
	cancel  func()
	wg      sync.WaitGroup
}

func receive(t *testing.T) *reception {
	ctx, cancel := context.WithCancel(t.Context())
	r := &reception{door: newDoor(), cancel: cancel}
	serve := func(s *Stranger) (func(), error) {
		if _, err := s.Read(make([]byte, 1)); err != nil {
			return nil, err
		}
		return func() { r.known.Add(1) }, s.Known()
	}
	r.wg.Go(func() { Receive(ctx, r.door, serve, func(net.Conn, error) { r.dropped.Add(1) }, func(error) {}) })
	return r
}

func (r *reception) end() {
	r.cancel()
	r.wg.Wait()
}

func TestSilentStrangersAreDroppedAfterTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receive(t)
		silent := r.knock()
		time.Sleep(2*time.Second - time.Millisecond) // sleep-ok: on the bubble's clock
		require.False(t, ended(silent))
		time.Sleep(2 * time.Millisecond) // sleep-ok: on the bubble's clock
		require.True(t, ended(silent))
		require.Equal(t, int32(1), r.dropped.Load())
		r.end()
	})
}

func TestStrangersAreBoundedAndDisplaceEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receive(t)
		rank := r.knock()
		_, err := rank.Write([]byte{1})
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, int32(1), r.known.Load())
		for n := range 3 * MaxStrangers {
			r.knock()
			synctest.Wait()
			if n < MaxStrangers {
				require.Zero(t, r.dropped.Load())
				continue
			}
			// The first of each 64 has waited until another's grace was over.
			require.Never(t, func() bool { return n-int(r.dropped.Load()) > MaxStrangers }, 2*grace, grace)
			require.GreaterOrEqual(t, int(r.dropped.Load()), n+1-MaxStrangers)
		}
		require.False(t, ended(rank), "who is known is not displaced")
		r.end()
		require.False(t, ended(rank), "who is known is not Receive's")
		require.Equal(t, int32(3*MaxStrangers), r.dropped.Load())
	})
}

func TestNobodyIsDisplacedWithinGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receive(t)
		for range MaxStrangers {
			r.knock()
		}
		go r.knock()
		time.Sleep(grace - time.Millisecond) // sleep-ok: on the bubble's clock
		synctest.Wait()
		require.Zero(t, r.dropped.Load())
		time.Sleep(2 * time.Millisecond) // sleep-ok: on the bubble's clock
		synctest.Wait()
		require.Equal(t, int32(1), r.dropped.Load())
		r.end()
	})
}

func TestRoomIsTakenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receive(t)
		first := r.knock()
		for range MaxStrangers - 1 {
			r.knock()
		}
		go r.knock()
		synctest.Wait()
		start := time.Now()
		require.NoError(t, first.Close())
		synctest.Wait()
		r.knock() // the one before is in, so this one is accepted
		require.Equal(t, start, time.Now())
		r.end()
	})
}

func TestWhoWaitsIsDroppedLikeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ready, ends := newDoor(), make(chan struct{}), make(chan error, 2*MaxStrangers)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			Receive(ctx, d, func(s *Stranger) (func(), error) {
				if err := s.Wait(ready); err != nil {
					return nil, err
				}
				return func() { ends <- s.Close() }, s.Known()
			}, func(_ net.Conn, err error) { ends <- err }, func(error) {})
		})
		start := time.Now()
		d.knock()
		require.ErrorIs(t, <-ends, os.ErrDeadlineExceeded)
		require.Equal(t, Patience, time.Since(start))
		for range MaxStrangers + 1 {
			d.knock()
		}
		require.ErrorIs(t, <-ends, errDisplaced)
		close(ready)
		for range MaxStrangers {
			require.NoError(t, <-ends)
		}
		cancel()
		wg.Wait()
	})
}

func TestWhoWasDisplacedIsNotKnown(t *testing.T) {
	h := &hall{room: make(chan struct{}, 1)}
	var all []*Stranger
	for range MaxStrangers + 1 {
		near, far := net.Pipe()
		defer far.Close()
		s := &Stranger{Conn: near, hall: h, arrived: time.Now().Add(-time.Second), left: make(chan struct{})}
		require.Zero(t, h.tryEnter(s))
		all = append(all, s)
	}
	displaced := 0
	for _, s := range all {
		if err := s.Known(); err != nil {
			require.ErrorIs(t, err, errDisplaced)
			displaced++
		}
		_ = s.Close()
	}
	require.Equal(t, 1, displaced)
	require.Empty(t, h.all)
}
