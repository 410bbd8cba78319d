package striped

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// badLane is an inproc lane with something wrong in what it sends.
type badLane struct {
	*inproc.Transport
	// tamper, if set, is given a frame to be sent, which it may change, and reports whether it is
	// sent at all.
	tamper func(to transport.Rank, frame []byte) (pass bool)
	// rate, if above 0, is the number of bytes a second that frames take.
	rate atomic.Int64
	// stalled makes every frame wait until the lane is closed.
	stalled atomic.Bool

	once   sync.Once
	closed chan struct{}
}

func newBadLane(t transport.Transport) *badLane {
	return &badLane{Transport: t.(*inproc.Transport), closed: make(chan struct{})}
}

func (l *badLane) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	if tag != frameTag {
		return l.Transport.Send(ctx, to, tag, bufs...)
	}
	frame := append([]byte(nil), bufs[0]...)
	if l.tamper != nil && !l.tamper(to, frame) {
		return nil
	}
	if rate := l.rate.Load(); rate > 0 {
		timer := time.NewTimer(time.Duration(len(frame)) * time.Second / time.Duration(rate))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.closed:
		}
	}
	if l.stalled.Load() {
		<-l.closed
	}
	return l.Transport.Send(ctx, to, tag, frame)
}

func (l *badLane) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Transport.Close()
}

// grid holds the bad lanes of a job.
type grid struct {
	mu    sync.Mutex
	lanes map[[2]int]*badLane // by lane and rank
}

func newGrid() *grid { return &grid{lanes: make(map[[2]int]*badLane)} }

func (g *grid) wrap(lane int, r transport.Rank, t transport.Transport) transport.Transport {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := newBadLane(t)
	g.lanes[[2]int{lane, int(r)}] = l
	return l
}

// at returns rank r's end of a lane.
func (g *grid) at(lane, r int) *badLane { return g.lanes[[2]int{lane, r}] }

// each visits all ends of a lane.
func (g *grid) each(lane, ranks int, do func(*badLane)) {
	for r := range ranks {
		do(g.at(lane, r))
	}
}

// patience makes lanes that give up a receive which takes longer.
type patience time.Duration

func (p patience) wrap(_ int, _ transport.Rank, t transport.Transport) transport.Transport {
	return &hastyLane{t.(*inproc.Transport), time.Duration(p)}
}

type hastyLane struct {
	*inproc.Transport
	limit time.Duration
}

func (l *hastyLane) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	return l.Transport.Recv(ctx, from, tag, bufs...)
}
