package transports

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
)

// Tag is one for all iterations: messages of one tag keep their order.
const Tag transport.Tag = 1

// direct is the all-to-all in which everybody sends to everybody at once: one message to each peer,
// and a copy for oneself.
type direct struct {
	t            transport.Transport
	sends, recvs []transport.Message
}

// NewDirect prepares the messages of a direct all-to-all. Ranks start with the peer after
// themselves, so that not everybody sends to the same one first.
func NewDirect(t transport.Transport) *direct {
	n := t.Size()
	d := &direct{t: t}
	for i := 1; i < n; i++ {
		to, from := (int(t.Rank())+i)%n, (int(t.Rank())-i+n)%n
		d.sends = append(d.sends, transport.Message{Peer: transport.Rank(to), Tag: Tag, Bufs: make([][]byte, 1)})
		d.recvs = append(d.recvs, transport.Message{Peer: transport.Rank(from), Tag: Tag, Bufs: make([][]byte, 1)})
	}
	return d
}

// Exchange sends the r-th of size equal blocks of send to rank r, and gets the r-th block of recv
// from it.
func (d *direct) Exchange(ctx context.Context, send, recv []byte) error {
	bytes := len(send) / d.t.Size()
	block := func(all []byte, r transport.Rank) []byte { return all[int(r)*bytes:][:bytes] }
	for i := range d.sends {
		d.sends[i].Bufs[0] = block(send, d.sends[i].Peer)
		d.recvs[i].Bufs[0] = block(recv, d.recvs[i].Peer)
	}
	copy(block(recv, d.t.Rank()), block(send, d.t.Rank()))
	return transport.Exchange(ctx, d.t, d.sends, d.recvs)
}
