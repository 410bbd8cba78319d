package collective

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
)

// exchange gathers the messages of one step.
type exchange struct {
	sends, recvs []transport.Message
	bufs         [][]byte // the lists of buffers of the messages, one after the other
}

func (x *exchange) send(peer int, tag transport.Tag, bufs ...[]byte) {
	x.sends = append(x.sends, x.message(peer, tag, bufs))
}

func (x *exchange) recv(peer int, tag transport.Tag, bufs ...[]byte) {
	x.recvs = append(x.recvs, x.message(peer, tag, bufs))
}

func (x *exchange) message(peer int, tag transport.Tag, bufs [][]byte) transport.Message {
	from := len(x.bufs)
	x.bufs = append(x.bufs, bufs...)
	return x.from(peer, tag, from)
}

// from is the message whose buffers are x.bufs from number first on.
func (x *exchange) from(peer int, tag transport.Tag, first int) transport.Message {
	end := len(x.bufs)
	return transport.Message{Peer: transport.Rank(peer), Tag: tag, Bufs: x.bufs[first:end:end]}
}

// sendSince and recvSince have the buffers sent or filled that have been appended to x.bufs since
// it had from of them, if there are any.
func (x *exchange) sendSince(from, peer int, tag transport.Tag) {
	if len(x.bufs) > from {
		x.sends = append(x.sends, x.from(peer, tag, from))
	}
}

func (x *exchange) recvSince(from, peer int, tag transport.Tag) {
	if len(x.bufs) > from {
		x.recvs = append(x.recvs, x.from(peer, tag, from))
	}
}

// run exchanges the messages. If one does not fill its buffers the ranks disagree about lengths.
func (x *exchange) run(ctx context.Context, t transport.Transport) error {
	if err := transport.Exchange(ctx, t, x.sends, x.recvs); err != nil {
		return err
	}
	for _, m := range x.recvs {
		room := 0
		for _, b := range m.Bufs {
			room += len(b)
		}
		if m.N != room {
			err := fmt.Errorf("%w: %d bytes came, %d were expected", transport.ErrMismatch, m.N, room)
			return &transport.Error{Rank: m.Peer, Op: "recv", Err: err}
		}
	}
	return nil
}

// reset forgets the messages and their buffers.
func (x *exchange) reset() {
	clear(x.sends)
	clear(x.recvs)
	clear(x.bufs)
	x.sends, x.recvs, x.bufs = x.sends[:0], x.recvs[:0], x.bufs[:0]
}
