package transport

import (
	"context"
	"fmt"
	"sync"
)

// Message is one message of an [Exchange], on either side.
type Message struct {
	// Peer is the receiver of a send, the sender of a receive.
	Peer Rank
	// Tag is the message's tag.
	Tag Tag
	// Bufs holds the message, or the buffers to receive it.
	Bufs [][]byte
	// N is the length of the received message, which Exchange sets.
	N int
}

// Exchanger is implemented by transports that run many sends and receives at once without a
// goroutine for each. Its contract is that of [Exchange].
type Exchanger interface {
	Exchange(ctx context.Context, sends, recvs []Message) error
}

// Exchange posts all receives and all sends at once and returns when every one is done. It cannot
// deadlock if each rank's receives match its peers' sends. Messages of one list that share a peer
// and a tag keep their order. After an error it returns the first one, once no message is under
// way: all buffers belong to the caller again. Contract and errors are otherwise those of
// [Transport].
func Exchange(ctx context.Context, t Transport, sends, recvs []Message) error {
	if x, ok := t.(Exchanger); ok {
		return x.Exchange(ctx, sends, recvs)
	}
	return exchangeByGoroutines(ctx, t, sends, recvs)
}

// exchangeByGoroutines is the slow reference: a goroutine for each direction, peer and tag.
func exchangeByGoroutines(parent context.Context, t Transport, sends, recvs []Message) error {
	for _, list := range [2][]Message{sends, recvs} {
		for _, m := range list { // on this goroutine, so that the caller can recover
			if m.Peer < 0 || int(m.Peer) >= t.Size() {
				panic(fmt.Sprintf("transport: Exchange with rank %d, outside 0..%d", m.Peer, t.Size()-1))
			}
		}
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	each := func(list []Message, do func(m *Message) error) {
		for _, queue := range queuesOf(list) {
			wg.Go(func() {
				for _, m := range queue {
					if err := do(m); err != nil {
						once.Do(func() { first = err; cancel(err) })
						return
					}
				}
			})
		}
	}
	each(recvs, func(m *Message) (err error) { m.N, err = t.Recv(ctx, m.Peer, m.Tag, m.Bufs...); return err })
	each(sends, func(m *Message) error { return t.Send(ctx, m.Peer, m.Tag, m.Bufs...) })
	wg.Wait()
	return first
}

// queuesOf splits list into the runs that must keep their order: those of one peer and tag.
func queuesOf(list []Message) [][]*Message {
	type key struct {
		peer Rank
		tag  Tag
	}
	at := make(map[key]int, len(list))
	var queues [][]*Message
	for i := range list {
		k := key{list[i].Peer, list[i].Tag}
		q, seen := at[k]
		if !seen {
			q = len(queues)
			at[k] = q
			queues = append(queues, nil)
		}
		queues[q] = append(queues[q], &list[i])
	}
	return queues
}
