package striped

import (
	"context"
	"sync"

	"github.com/switchyard-moe/switchyard/transport"
)

// Exchange posts all receives, sends to each peer in a goroutine of its own, and waits for all. See
// [transport.Exchange].
func (t *Transport) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	first := t.rank
	for _, list := range [2][]transport.Message{sends, recvs} {
		for i := range list {
			t.check("Exchange", list[i].Peer)
			first = list[0].Peer
		}
	}
	if err := t.begin(ctx, "exchange", first); err != nil {
		return err
	}
	defer t.life.RUnlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x := &exchange{t: t, cancel: cancel}
	posted := x.post(recvs)
	x.send(ctx, sends)
	x.receive(ctx, posted, recvs)
	x.wg.Wait()
	return x.first.as("exchange")
}

type exchange struct {
	t      *Transport
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	once   sync.Once
	first  *fault
}

// fail ends the exchange with f, unless f is nil.
func (x *exchange) fail(f *fault) {
	if f != nil {
		x.once.Do(func() { x.first = f; x.cancel(f.err) })
	}
}

// post posts all receives, until one fails.
func (x *exchange) post(recvs []transport.Message) []*receive {
	posted := make([]*receive, 0, len(recvs))
	for i := range recvs {
		r, f := x.t.inboxes[recvs[i].Peer].post(recvs[i].Tag, recvs[i].Bufs)
		if f != nil {
			x.fail(f)
			break
		}
		posted = append(posted, r)
	}
	return posted
}

// send sends all messages, those to one peer in their order.
func (x *exchange) send(ctx context.Context, sends []transport.Message) {
	queues := make([][]*transport.Message, x.t.size)
	for i := range sends {
		m := &sends[i]
		queues[m.Peer] = append(queues[m.Peer], m)
	}
	for _, q := range queues {
		if len(q) > 0 {
			x.wg.Go(func() { x.sendQueue(ctx, q) })
		}
	}
}

func (x *exchange) sendQueue(ctx context.Context, queue []*transport.Message) {
	var c clock
	defer c.stop()
	for _, m := range queue {
		f := x.t.unusable()
		if f == nil && ctx.Err() != nil {
			f = &fault{m.Peer, gaveUp(ctx)}
		}
		if f == nil {
			f = x.t.sendOne(ctx, &c, m.Peer, m.Tag, m.Bufs)
		}
		if f != nil {
			x.fail(f)
			return
		}
	}
}

// receive waits for all posted receives; after a failure it withdraws those without a message.
func (x *exchange) receive(ctx context.Context, posted []*receive, recvs []transport.Message) {
	var c clock
	defer c.stop()
	for i, r := range posted {
		n, f := x.t.receive(ctx, &c, r)
		recvs[i].N = n
		x.fail(f)
	}
}
