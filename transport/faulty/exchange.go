package faulty

import (
	"context"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

// numbers counts operations.
type numbers struct {
	mu  sync.Mutex
	all uint64
	seq map[sequence]uint64
}

// sequence is the operations that a sequence number counts.
type sequence struct {
	dir  Direction
	peer transport.Rank
	tag  transport.Tag
}

// number gives the next operation its numbers.
func (t *Transport) number(dir Direction, peer transport.Rank, tag transport.Tag, bufs [][]byte) Op {
	o := Op{Rank: t.Rank(), Dir: dir, Peer: peer, Tag: tag, Size: rows.SizeOf(bufs)}
	if len(t.cfg.Rules) == 0 {
		return o
	}
	n := &t.numbers
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seq == nil {
		n.seq = make(map[sequence]uint64)
	}
	l := sequence{dir, peer, tag}
	n.all++
	n.seq[l]++
	o.N, o.Seq = n.all, n.seq[l]
	return o
}

// Exchange runs all sends and receives at once. Where there are rules, each message is an operation
// of its own. See [transport.Exchange].
func (t *Transport) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	for _, list := range [2][]transport.Message{sends, recvs} {
		for i := range list {
			t.check("Exchange", list[i].Peer)
		}
	}
	if len(t.cfg.Rules) > 0 {
		return transport.Exchange(ctx, t.numbered(sends, recvs), sends, recvs)
	}
	o := Op{Rank: t.Rank(), Dir: Send}
	if err := t.unusable(&o); err != nil {
		return err
	}
	err := transport.Exchange(ctx, t.below, sends, recvs)
	if err == nil {
		for i := range sends {
			if sends[i].Peer != o.Rank {
				t.wire.Add(uint64(rows.SizeOf(sends[i].Bufs)))
			}
		}
	}
	return t.learn(ctx, err, &o)
}

// numbered is the transport within one exchange: its operations have their numbers already, since
// the goroutines that run them come in any order. It is not an Exchanger.
type numbered struct {
	t   *Transport
	mu  sync.Mutex
	ops map[sequence][]Op
}

func (t *Transport) numbered(sends, recvs []transport.Message) *numbered {
	x := &numbered{t: t, ops: make(map[sequence][]Op)}
	add := func(dir Direction, list []transport.Message) {
		for _, m := range list {
			l := sequence{dir, m.Peer, m.Tag}
			x.ops[l] = append(x.ops[l], t.number(dir, m.Peer, m.Tag, m.Bufs))
		}
	}
	add(Recv, recvs)
	add(Send, sends)
	return x
}

// next returns the operations of a sequence in their order.
func (x *numbered) next(l sequence) Op {
	x.mu.Lock()
	defer x.mu.Unlock()
	o := x.ops[l][0]
	x.ops[l] = x.ops[l][1:]
	return o
}

func (x *numbered) Rank() transport.Rank { return x.t.Rank() }
func (x *numbered) Size() int            { return x.t.Size() }
func (x *numbered) Close() error         { return x.t.Close() }

func (x *numbered) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	return x.t.send(ctx, x.next(sequence{Send, to, tag}), bufs)
}

func (x *numbered) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (int, error) {
	return x.t.recv(ctx, x.next(sequence{Recv, from, tag}), bufs)
}
