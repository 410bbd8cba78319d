package alltoall

import (
	"cmp"
	"context"
	"encoding/binary"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// lengthBytes is the size of a block's length in the head of a bundle.
	lengthBytes = 8
	// inline is the most bytes that travel in one message with their lengths.
	inline = 16 << 10
	// DefaultMaxRelay is the most bytes that a rank holds for others in a round by default, unless its
	// rows may be longer in total.
	DefaultMaxRelay = 1 << 30
)

// relay carries out a round by the steps of an algorithm. A bundle whose blocks all end at its
// receiver, which knows their lengths, is one message of those blocks. Other bundles begin with the
// lengths of their blocks, which the receiver accepts only within bounds; short blocks follow in
// the same message, long ones in another.
type relay struct {
	x       *Exchange
	op      string
	out, in [][][]byte // by rank: what this rank has for it, and where to put what it gets
	nodes   []int      // of the ranks
	held    map[Block][][]byte
	holding int // bytes
	sized   int // bytes that have come for this rank whose number it did not know
	// misfit is the first error of rows that are not those of this rank's allocation. The round goes
	// on to its end, so that all ranks find out.
	misfit      error
	first, rest batchOf
	heads       []arrival

	// Of bundles that carry each row once.
	ids      map[*byte]uint32
	distinct [][]byte
	unpack   []distinctRows
}

// batchOf is messages that are exchanged at once.
type batchOf struct{ sends, recvs []transport.Message }

// arrival is a bundle whose lengths are on their way.
type arrival struct {
	bundle Bundle
	buf    []byte
	at     int // among first.recvs
	// distinct says that it carries each row once.
	distinct bool
}

// runRelay is run by another algorithm than Direct.
func (x *Exchange) runRelay(ctx context.Context, op string, steps []Step) error {
	r := &x.relay
	r.begin(x, op)
	defer r.end()
	for i := range steps {
		if err := r.step(ctx, &steps[i]); err != nil {
			return err
		}
	}
	for i := range x.round.recvs {
		m := &x.round.recvs[i]
		m.Bufs = r.in[m.Peer]
		m.N = length(m.Bufs)
	}
	if r.misfit != nil {
		return cmp.Or(x.compareDigests(op), r.misfit)
	}
	return nil
}

func (r *relay) begin(x *Exchange, op string) {
	r.x, r.op, r.holding, r.sized, r.misfit = x, op, 0, 0, nil
	if r.held == nil {
		r.held, r.out, r.in = map[Block][][]byte{}, make([][][]byte, x.size()), make([][][]byte, x.size())
		r.ids, r.nodes = map[*byte]uint32{}, x.chooser.nodes.node
	}
	for _, m := range x.round.sends {
		r.out[m.Peer] = m.Bufs
	}
	for _, m := range x.round.recvs {
		r.in[m.Peer] = m.Bufs
	}
}

// end drops all references to the memory of others.
func (r *relay) end() {
	clear(r.held)
	clear(r.out)
	clear(r.in)
	clear(r.ids)
	clear(r.unpack)
	r.unpack = r.unpack[:0]
	r.first.clear()
	r.rest.clear()
}

// step carries out one step, and drops the blocks that it has sent.
func (r *relay) step(ctx context.Context, s *Step) error {
	r.first.clear()
	r.rest.clear()
	r.heads = r.heads[:0]
	r.unpack = r.unpack[:0]
	for _, b := range s.Sends {
		if r.deduplicates(b) {
			r.sendDistinct(b)
		} else {
			r.send(b)
		}
	}
	for _, b := range s.Recvs {
		if r.deduplicates(b) {
			r.expect(b, distinctHead(len(b.Blocks)), true)
		} else {
			r.recv(b)
		}
	}
	if err := r.exchange(ctx, &r.first); err != nil {
		return err
	}
	for _, a := range r.heads {
		land := r.land
		if a.distinct {
			land = r.landDistinct
		}
		if err := land(a); err != nil {
			return err
		}
	}
	if len(r.rest.sends)+len(r.rest.recvs) > 0 {
		if err := r.exchange(ctx, &r.rest); err != nil {
			return err
		}
	}
	for _, o := range r.unpack {
		if err := r.assemble(o); err != nil {
			return err
		}
	}
	for _, b := range s.Sends {
		for _, block := range b.Blocks {
			delete(r.held, block)
		}
	}
	return nil
}

func (r *relay) send(b Bundle) {
	bufs, total := r.contents(b)
	if r.plain(b, b.Peer) {
		if total > 0 {
			r.first.sends = append(r.first.sends, r.x.message(b.Peer, bufs))
		}
		return
	}
	head := r.x.round.takeBytes(lengthBytes * len(b.Blocks))
	for i, block := range b.Blocks {
		binary.LittleEndian.PutUint64(head[lengthBytes*i:], uint64(length(r.bufsOf(block))))
	}
	r.post(b.Peer, head, bufs)
}

// post sends a head with the blocks after it, or if those are long before a message of them.
func (r *relay) post(peer int, head []byte, bufs [][]byte) {
	if length(bufs) <= inline {
		begun := len(r.x.round.bufs)
		r.x.round.bufs = append(append(r.x.round.bufs, head), bufs...)
		r.first.sends = append(r.first.sends, r.x.message(peer, r.x.round.list(begun)))
		return
	}
	r.first.sends = append(r.first.sends, r.x.message(peer, r.x.round.one(head)))
	r.rest.sends = append(r.rest.sends, r.x.message(peer, bufs))
}

func (r *relay) recv(b Bundle) {
	if r.plain(b, r.x.rank()) {
		begun := len(r.x.round.bufs)
		for _, block := range b.Blocks {
			r.x.round.bufs = append(r.x.round.bufs, r.in[block.From]...)
		}
		if bufs := r.x.round.list(begun); length(bufs) > 0 {
			r.first.recvs = append(r.first.recvs, r.x.message(b.Peer, bufs))
		}
		return
	}
	r.expect(b, lengthBytes*len(b.Blocks), false)
}

// expect makes room for a head of the given length and the blocks that may follow it.
func (r *relay) expect(b Bundle, head int, distinct bool) {
	buf := r.x.round.takeBytes(head + inline)
	r.heads = append(r.heads, arrival{b, buf, len(r.first.recvs), distinct})
	r.first.recvs = append(r.first.recvs, r.x.message(b.Peer, r.x.round.one(buf)))
}

// plain reports whether all blocks of a bundle end at its receiver, which knows their lengths.
func (r *relay) plain(b Bundle, receiver int) bool {
	if r.x.round.sized {
		return false
	}
	for _, block := range b.Blocks {
		if block.To != receiver {
			return false
		}
	}
	return true
}

// exchange carries out a batch, and checks the messages whose lengths are known.
func (r *relay) exchange(ctx context.Context, b *batchOf) error {
	x := r.x
	if err := transport.Exchange(ctx, x.t, b.sends, b.recvs); err != nil {
		return x.failed(r.op, err)
	}
	heads := r.heads
	for i, m := range b.recvs {
		if b == &r.first && len(heads) > 0 && heads[0].at == i {
			heads = heads[1:]
			continue
		}
		if want := length(m.Bufs); m.N != want {
			err := x.misfit(int(m.Peer), int(m.Peer), r.op, "%d bytes, announced %d", m.N, want)
			if !x.round.digests {
				return err
			}
			r.misfit = cmp.Or(r.misfit, err)
			x.forgetDigests(m.Bufs[1:])
		}
	}
	return nil
}

// land makes room for the blocks of a bundle whose head has come, and fills it or expects their
// message.
func (r *relay) land(a arrival) error {
	x, got := r.x, r.first.recvs[a.at].N
	head := lengthBytes * len(a.bundle.Blocks)
	if got < head {
		return x.fault(a.bundle.Peer, r.op, transport.ErrProtocol, "%d bytes, lengths of %d blocks take %d", got, len(a.bundle.Blocks), head)
	}
	begun := len(x.round.bufs)
	for i, block := range a.bundle.Blocks {
		n := binary.LittleEndian.Uint64(a.buf[lengthBytes*i:])
		if err := r.room(a.bundle.Peer, block, n); err != nil {
			return err
		}
	}
	return r.fill(a, head, x.round.list(begun))
}

// fill has what follows a head go to bufs: from the same message, or from another.
func (r *relay) fill(a arrival, head int, bufs [][]byte) error {
	x, got, total := r.x, r.first.recvs[a.at].N, length(bufs)
	if total > inline {
		if got != head {
			return x.fault(a.bundle.Peer, r.op, transport.ErrProtocol, "%d bytes with lengths of %d", got, total)
		}
		r.rest.recvs = append(r.rest.recvs, x.message(a.bundle.Peer, bufs))
		return nil
	}
	if got != head+total {
		return x.fault(a.bundle.Peer, r.op, transport.ErrProtocol, "%d bytes with lengths of %d", got, total)
	}
	from := a.buf[head:got]
	for _, b := range bufs {
		from = from[copy(b, from):]
	}
	return nil
}

// room appends to the round's buffers those for a block of n bytes that peer sends.
func (r *relay) room(peer int, block Block, n uint64) error {
	x := r.x
	if block.To == x.rank() {
		return r.ownRoom(peer, block, n)
	}
	if err := r.hold(peer, n); err != nil {
		return err
	}
	buf := x.round.takeBytes(int(n))
	r.held[block] = [][]byte{buf}
	x.round.bufs = append(x.round.bufs, buf)
	return nil
}

// ownRoom is room for a block for this rank: what it has ready, or new memory if it did not know
// the length, or the sender has another allocation.
func (r *relay) ownRoom(peer int, block Block, n uint64) error {
	x, bufs := r.x, r.in[block.From]
	most := 4*x.counted + x.size()*x.loadsHead()
	if want := length(bufs); !x.round.sized && n != uint64(want) {
		err := x.misfit(peer, block.From, r.op, "%d bytes of rank %d, announced %d", n, block.From, want)
		if !x.round.digests {
			return err
		}
		r.misfit, most = cmp.Or(r.misfit, err), x.maxRelay
	} else if !x.round.sized {
		x.round.bufs = append(x.round.bufs, bufs...)
		return nil
	}
	if limit := most - r.sized; n > uint64(limit) {
		return x.fault(peer, r.op, transport.ErrTooLarge, "%d bytes of rank %d, limit %d of %d", n, block.From, limit, most)
	}
	r.sized += int(n)
	r.replace(block.From, x.round.takeBytes(int(n)))
	return nil
}

// replace makes buf the room for what comes from a rank, and appends it to the round's buffers.
func (r *relay) replace(from int, buf []byte) {
	round := &r.x.round
	round.bufs = append(round.bufs, buf)
	r.in[from] = round.list(len(round.bufs) - 1)
}

// hold counts n more bytes that this rank holds because of peer.
func (r *relay) hold(peer int, n uint64) error {
	x := r.x
	if limit := x.maxRelay - r.holding; n > uint64(limit) {
		return x.fault(peer, r.op, transport.ErrTooLarge, "%d bytes to hold for others, limit %d of %d", n, limit, x.maxRelay)
	}
	r.holding += int(n)
	return nil
}

// contents returns the bytes of a bundle.
func (r *relay) contents(b Bundle) (bufs [][]byte, total int) {
	begun := len(r.x.round.bufs)
	for _, block := range b.Blocks {
		r.x.round.bufs = append(r.x.round.bufs, r.bufsOf(block)...)
	}
	bufs = r.x.round.list(begun)
	return bufs, length(bufs)
}

// bufsOf is a block that this rank has.
func (r *relay) bufsOf(b Block) [][]byte {
	if b.From == r.x.rank() {
		return r.out[b.To]
	}
	return r.held[b]
}

func (b *batchOf) clear() {
	clear(b.sends)
	clear(b.recvs)
	b.sends, b.recvs = b.sends[:0], b.recvs[:0]
}
