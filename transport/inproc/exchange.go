package inproc

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
)

// Exchange runs all sends and receives at once, in the caller's goroutine: it posts the receives,
// starts the sends, and waits once. Large messages are copied by whichever rank comes second, so
// the ranks share the work of copying. See [transport.Exchange]. If ctx ends before all is done,
// the messages that had not begun to move are taken back and the transport stays usable.
func (t *Transport) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	for _, list := range [2][]transport.Message{sends, recvs} {
		for i := range list {
			t.check("Exchange", list[i].Peer)
		}
	}
	x := exchange{t, sends, recvs}
	if len(sends)+len(recvs) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return t.ended(ctx, x.place(0))
	}
	return x.run(ctx)
}

type exchange struct {
	t            *Transport
	sends, recvs []transport.Message
}

// place says what operation i of the group is: receives come first.
func (x *exchange) place(i int) place {
	if i < len(x.recvs) {
		return place{"recv", x.recvs[i].Peer}
	}
	return place{"send", x.sends[i-len(x.recvs)].Peer}
}

func (x *exchange) run(ctx context.Context) error {
	ops := len(x.sends) + len(x.recvs)
	g := x.t.begin(ops)
	defer x.t.world.end(g)
	for i := range ops {
		if err := x.start(g, i); err != nil {
			g.abandon()
			return x.t.failed(err, x.place(i))
		}
	}
	if stuck, why := g.wait(ctx, x.t.world.timeout); why != nil {
		return x.t.gaveUp(ctx, why, x.place(stuck))
	}
	return x.results(g)
}

// results reads the lengths of what came, and counts what went if all is well.
func (x *exchange) results(g *group) error {
	for i := range len(x.sends) + len(x.recvs) {
		n, err := g.result(i)
		if err != nil {
			return x.t.failed(err, x.place(i))
		}
		if i < len(x.recvs) {
			x.recvs[i].N = n
		}
	}
	for i := range x.sends {
		x.t.count(x.sends[i].Peer, x.sends[i].Bufs)
	}
	return nil
}

func (x *exchange) start(g *group, i int) error {
	t := x.t
	if i < len(x.recvs) {
		m := &x.recvs[i]
		return t.world.inboxes[t.rank].recv(g, int(m.Peer), m.Tag, m.Bufs)
	}
	m := &x.sends[i-len(x.recvs)]
	return t.world.inboxes[m.Peer].send(g, int(t.rank), m.Tag, exchangeEager, m.Bufs)
}
