package striped

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// badLink is an inproc link with faults in what it sends.
type badLink struct {
	*inproc.Transport
	// tamper, if set, is given a frame to be sent, which it may change, and reports whether it is
	// sent at all.
	tamper func(to transport.Rank, frame []byte) (pass bool)
	// rate, if above 0, is the number of bytes a second that frames take.
	rate atomic.Int64
	// stalled makes every frame wait until the link is closed.
	stalled atomic.Bool

	once   sync.Once
	closed chan struct{}
}

func newBadLink(t transport.Transport) *badLink {
	return &badLink{Transport: t.(*inproc.Transport), closed: make(chan struct{})}
}

func (l *badLink) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
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

func (l *badLink) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Transport.Close()
}

// grid holds the bad links of a job.
type grid struct {
	mu    sync.Mutex
	links map[[2]int]*badLink // by link and rank
}

func newGrid() *grid { return &grid{links: make(map[[2]int]*badLink)} }

func (g *grid) wrap(link int, r transport.Rank, t transport.Transport) transport.Transport {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := newBadLink(t)
	g.links[[2]int{link, int(r)}] = l
	return l
}

// at returns rank r's end of a link.
func (g *grid) at(link, r int) *badLink { return g.links[[2]int{link, r}] }

// each visits all ends of a link.
func (g *grid) each(link, ranks int, do func(*badLink)) {
	for r := range ranks {
		do(g.at(link, r))
	}
}

// recvLimit makes links that end a receive which takes longer.
type recvLimit time.Duration

func (p recvLimit) wrap(_ int, _ transport.Rank, t transport.Transport) transport.Transport {
	return &limitedLink{t.(*inproc.Transport), time.Duration(p)}
}

type limitedLink struct {
	*inproc.Transport
	limit time.Duration
}

func (l *limitedLink) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	return l.Transport.Recv(ctx, from, tag, bufs...)
}
