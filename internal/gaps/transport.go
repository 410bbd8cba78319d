package gaps

import (
	"context"
	"sync"

	"github.com/switchyard-moe/switchyard/transport"
)

// Transport returns t for messages that come before pieces, such as rows: no piece begins while an
// Exchange of it sends. Other ranks may keep an exchange waiting for theirs: that leaves the link
// to pieces. It does not close t.
func (q *Queue) Transport(t transport.Transport) transport.Transport { return &urgent{t, q} }

type urgent struct {
	transport.Transport
	queue *Queue
}

// Close does nothing.
func (u *urgent) Close() error { return nil }

// Exchange is [transport.Exchange]. While there are jobs, what is sent and what is received go
// apart, so that it is known when all is sent.
func (u *urgent) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	if len(sends) == 0 {
		return transport.Exchange(ctx, u.Transport, nil, recvs)
	}
	if busy := u.queue.Begin(); !busy || len(recvs) == 0 {
		defer u.queue.End()
		return transport.Exchange(ctx, u.Transport, sends, recvs)
	}
	return u.apart(ctx, sends, recvs)
}

// apart is Exchange whose sends have begun, and end by themselves.
func (u *urgent) apart(ctx context.Context, sends, recvs []transport.Message) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var first error
	var once sync.Once
	half := func(sends, recvs []transport.Message) {
		if err := transport.Exchange(ctx, u.Transport, sends, recvs); err != nil {
			once.Do(func() { first = err; cancel(err) })
		}
	}
	var sent sync.WaitGroup
	sent.Go(func() {
		defer u.queue.End()
		half(sends, nil)
	})
	half(nil, recvs)
	sent.Wait()
	return first
}

// Capabilities, WireBytes, Alloc and Free are those of the transport below, if it has them.
func (u *urgent) Capabilities() transport.Capabilities { return transport.CapabilitiesOf(u.Transport) }

func (u *urgent) WireBytes() uint64 {
	if c, ok := u.Transport.(transport.Counter); ok {
		return c.WireBytes()
	}
	return 0
}

func (u *urgent) Alloc(n int) []byte {
	if a, ok := u.Transport.(transport.Allocator); ok {
		return a.Alloc(n)
	}
	return nil
}

func (u *urgent) Free(b []byte) bool {
	a, ok := u.Transport.(transport.Allocator)
	return ok && a.Free(b)
}
