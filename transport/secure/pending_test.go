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

// pipeListener is a listener of in-memory connections, so that a test can use a synctest clock.
type pipeListener struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{incoming: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return nil }

// dial returns the far end of a new connection.
func (l *pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	l.incoming <- near
	return far
}

// ended reports whether the near end of c has been closed.
func ended(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Nanosecond))
	_, err := c.Read(make([]byte, 1))
	var waits net.Error
	return !(errors.As(err, &waits) && waits.Timeout())
}

// server runs Serve; it identifies a connection by its first byte, and keeps it.
type server struct {
	*pipeListener
	dropped    atomic.Int32
	identified atomic.Int32
	cancel     func()
	wg         sync.WaitGroup
}

func serve(t *testing.T) *server {
	ctx, cancel := context.WithCancel(t.Context())
	r := &server{pipeListener: newPipeListener(), cancel: cancel}
	identify := func(p *Pending) (func(), error) {
		if _, err := p.Read(make([]byte, 1)); err != nil {
			return nil, err
		}
		return func() { r.identified.Add(1) }, p.Identified()
	}
	r.wg.Go(func() {
		Serve(ctx, r.pipeListener, identify, func(net.Conn, error) { r.dropped.Add(1) }, func(error) {})
	})
	return r
}

func (r *server) end() {
	r.cancel()
	r.wg.Wait()
}

func TestSilentConnectionsAreDroppedAfterTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t)
		silent := r.dial()
		time.Sleep(2*time.Second - time.Millisecond) // sleep-ok: on the bubble's clock
		require.False(t, ended(silent))
		time.Sleep(2 * time.Millisecond) // sleep-ok: on the bubble's clock
		require.True(t, ended(silent))
		require.Equal(t, int32(1), r.dropped.Load())
		r.end()
	})
}

func TestPendingConnectionsAreBoundedAndDisplaceEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t)
		rank := r.dial()
		_, err := rank.Write([]byte{1})
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, int32(1), r.identified.Load())
		for n := range 3 * MaxPending {
			r.dial()
			synctest.Wait()
			if n < MaxPending {
				require.Zero(t, r.dropped.Load())
				continue
			}
			// The first of each 64 has waited until another's grace was over.
			require.Never(t, func() bool { return n-int(r.dropped.Load()) > MaxPending }, 2*grace, grace)
			require.GreaterOrEqual(t, int(r.dropped.Load()), n+1-MaxPending)
		}
		require.False(t, ended(rank), "an identified connection is not displaced")
		r.end()
		require.False(t, ended(rank), "an identified connection belongs to its owner")
		require.Equal(t, int32(3*MaxPending), r.dropped.Load())
	})
}

func TestNoConnectionIsDisplacedWithinGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t)
		for range MaxPending {
			r.dial()
		}
		go r.dial()
		time.Sleep(grace - time.Millisecond) // sleep-ok: on the bubble's clock
		synctest.Wait()
		require.Zero(t, r.dropped.Load())
		time.Sleep(2 * time.Millisecond) // sleep-ok: on the bubble's clock
		synctest.Wait()
		require.Equal(t, int32(1), r.dropped.Load())
		r.end()
	})
}

func TestFreeSlotIsUsedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t)
		first := r.dial()
		for range MaxPending - 1 {
			r.dial()
		}
		go r.dial()
		synctest.Wait()
		start := time.Now()
		require.NoError(t, first.Close())
		synctest.Wait()
		r.dial() // the one before has its slot, so this one is accepted
		require.Equal(t, start, time.Now())
		r.end()
	})
}

func TestWaitingConnectionsAreDroppedLikeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ready, ends := newPipeListener(), make(chan struct{}), make(chan error, 2*MaxPending)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			Serve(ctx, d, func(s *Pending) (func(), error) {
				if err := s.Wait(ready); err != nil {
					return nil, err
				}
				return func() { ends <- s.Close() }, s.Identified()
			}, func(_ net.Conn, err error) { ends <- err }, func(error) {})
		})
		start := time.Now()
		d.dial()
		require.ErrorIs(t, <-ends, os.ErrDeadlineExceeded)
		require.Equal(t, HandshakeTimeout, time.Since(start))
		for range MaxPending + 1 {
			d.dial()
		}
		require.ErrorIs(t, <-ends, errDisplaced)
		close(ready)
		for range MaxPending {
			require.NoError(t, <-ends)
		}
		cancel()
		wg.Wait()
	})
}

func TestDisplacedConnectionIsNotIdentified(t *testing.T) {
	set := &pendingSet{freed: make(chan struct{}, 1)}
	var all []*Pending
	for range MaxPending + 1 {
		near, far := net.Pipe()
		defer far.Close()
		s := &Pending{Conn: near, set: set, accepted: time.Now().Add(-time.Second), removed: make(chan struct{})}
		require.Zero(t, set.tryAdd(s))
		all = append(all, s)
	}
	displaced := 0
	for _, s := range all {
		if err := s.Identified(); err != nil {
			require.ErrorIs(t, err, errDisplaced)
			displaced++
		}
		_ = s.Close()
	}
	require.Equal(t, 1, displaced)
	require.Empty(t, set.all)
}
