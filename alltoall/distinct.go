package alltoall

import (
	"cmp"
	"encoding/binary"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

// In a dispatch by Rails, what a rank has for the ranks of another node crosses with each row once,
// as do all messages of one by Dedup: a head that has for each block the length of its prefix and
// the number of its rows, and the number of distinct rows; then the prefixes, a number for each
// row, and the distinct rows. The receiver puts the blocks together again. A row is identified by
// its address.
//
// Answers cross one by one: they have to be summed in the order of a token's experts, and those of
// one node need not follow each other.

const (
	wordBytes = 8 // of a number in the head
	refBytes  = 4 // of a row's number
)

// distinctHead is the length of the head of a bundle with the given number of blocks.
func distinctHead(blocks int) int { return wordBytes * (2*blocks + 1) }

// distinctRows is a bundle with each row once that has come or is coming.
type distinctRows struct {
	bundle   Bundle
	prefix   [][]byte // of each block
	rows     []int    // of each block
	refs     []byte
	distinct []byte
}

// width is the bytes of a row of a bundle whose rows are each carried once. Those of one bundle
// take links of the same class from end to end: in Dedup they end at its receiver, and in Rails
// they cross to its node.
func (r *relay) width(b Bundle) int { return r.x.wires.to(b.Peer).dispatch.width }

// sendDistinct adds a bundle to the messages of a step.
func (r *relay) sendDistinct(b Bundle) {
	x := r.x
	head := x.round.takeBytes(distinctHead(len(b.Blocks)))
	width, total := r.width(b), 0
	clear(r.ids)
	r.distinct = r.distinct[:0]
	begun := len(x.round.bufs)
	for i, block := range b.Blocks {
		bufs, n := r.out[block.To], 0
		if len(bufs) > 0 {
			x.round.bufs = append(x.round.bufs, bufs[0])
			n = (length(bufs) - len(bufs[0])) / width
			binary.LittleEndian.PutUint64(head[2*wordBytes*i:], uint64(len(bufs[0])))
		} else {
			binary.LittleEndian.PutUint64(head[2*wordBytes*i:], 0)
		}
		binary.LittleEndian.PutUint64(head[2*wordBytes*i+wordBytes:], uint64(n))
		total += n
	}
	refs := x.round.takeBytes(refBytes * total)[:0]
	for _, block := range b.Blocks {
		for _, buf := range r.out[block.To][min(1, len(r.out[block.To])):] {
			for ; len(buf) > 0; buf = buf[width:] {
				refs = binary.LittleEndian.AppendUint32(refs, r.number(buf[:width]))
			}
		}
	}
	binary.LittleEndian.PutUint64(head[len(head)-wordBytes:], uint64(len(r.distinct)))
	x.round.bufs = append(x.round.bufs, refs)
	r.listDistinct(width)
	r.post(b.Peer, head, x.round.list(begun))
}

// number returns the number of a row among the distinct ones.
func (r *relay) number(row []byte) uint32 {
	id, ok := r.ids[&row[0]]
	if !ok {
		id = uint32(len(r.distinct))
		r.ids[&row[0]] = id
		r.distinct = append(r.distinct, row)
	}
	return id
}

// packBelow is the length in bytes below which distinct rows are copied into one buffer, which is
// sent faster than thousands. For longer rows it is not: a dispatch of rows of 4 KiB over links of
// 1 Gb/s takes 4 % less time as they are.
const packBelow = 4 << 10

// listDistinct appends the distinct rows, of width bytes, to the round's buffers.
func (r *relay) listDistinct(width int) {
	round := &r.x.round
	if width >= packBelow {
		round.bufs = append(round.bufs, r.distinct...)
		clear(r.distinct)
		return
	}
	to := round.takeBytes(width * len(r.distinct))
	round.bufs = append(round.bufs, to)
	for i, row := range r.distinct {
		to = to[copy(to, row):]
		r.distinct[i] = nil
	}
}

// landDistinct makes room for a bundle whose head has come.
func (r *relay) landDistinct(a arrival) error {
	x, peer, blocks, width := r.x, a.bundle.Peer, a.bundle.Blocks, r.width(a.bundle)
	got, headBytes := r.first.recvs[a.at].N, distinctHead(len(blocks))
	if got < headBytes {
		return x.fault(peer, r.op, transport.ErrProtocol, "%d bytes, the head of %d blocks takes %d", got, len(blocks), headBytes)
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(a.buf[wordBytes*i:]) }
	o := distinctRows{bundle: a.bundle}
	begun, total := len(x.round.bufs), 0
	for i, block := range blocks {
		prefix, n := word(2*i), word(2*i+1)
		buf, err := r.roomForPrefix(a.bundle, block, prefix, n)
		if err != nil {
			return err
		}
		x.round.bufs = append(x.round.bufs, buf)
		o.rows = append(o.rows, int(n))
		total += int(n)
	}
	o.prefix = x.round.list(begun)
	distinct := word(2 * len(blocks))
	if distinct > uint64(total) {
		return x.fault(peer, r.op, transport.ErrProtocol, "%d distinct rows among %d", distinct, total)
	}
	if err := r.hold(peer, refBytes*uint64(total)+uint64(width)*distinct); err != nil {
		return err
	}
	o.refs, o.distinct = x.round.takeBytes(refBytes*total), x.round.takeBytes(width*int(distinct))
	begun = len(x.round.bufs)
	x.round.bufs = append(append(x.round.bufs, o.prefix...), o.refs, o.distinct)
	if err := r.fill(a, headBytes, x.round.list(begun)); err != nil {
		return err
	}
	r.unpack = append(r.unpack, o)
	return nil
}

// roomForPrefix returns room for the prefix of a block that a bundle announces, after it has
// checked the size.
func (r *relay) roomForPrefix(b Bundle, block Block, prefix, n uint64) ([]byte, error) {
	x, peer, most := r.x, b.Peer, uint64(r.x.maxRelay)/refBytes
	if block.To != x.rank() {
		if n > most {
			return nil, x.fault(peer, r.op, transport.ErrTooLarge, "%d rows of rank %d for rank %d, limit %d", n, block.From, block.To, most)
		}
		if err := r.hold(peer, prefix); err != nil {
			return nil, err
		}
		return x.round.takeBytes(int(prefix)), nil
	}
	var mine []byte
	want := 0
	if bufs := r.in[block.From]; len(bufs) > 0 {
		mine, want = bufs[0], (length(bufs)-len(bufs[0]))/r.width(b)
	}
	if prefix != uint64(len(mine)) || n != uint64(want) {
		err := x.misfit(peer, block.From, r.op, "%d bytes and %d rows of rank %d, announced %d and %d", prefix, n, block.From, len(mine), want)
		if !x.round.digests || prefix != uint64(len(mine)) || n > most {
			return nil, err
		}
		r.misfit = cmp.Or(r.misfit, err)
	}
	return mine, nil
}

// assemble puts the blocks of a bundle for this rank together, and lists the pieces of those for
// others.
func (r *relay) assemble(o distinctRows) error {
	x, width := r.x, r.width(o.bundle)
	refs, distinct := o.refs, uint32(len(o.distinct)/width)
	for i, block := range o.bundle.Blocks {
		begun := len(x.round.bufs)
		x.round.bufs = append(x.round.bufs, o.prefix[i])
		for range o.rows[i] {
			id := binary.LittleEndian.Uint32(refs)
			if refs = refs[refBytes:]; id >= distinct {
				return x.fault(o.bundle.Peer, r.op, transport.ErrProtocol, "row %d of %d distinct ones", id, distinct)
			}
			x.round.bufs = append(x.round.bufs, o.distinct[int(id)*width:][:width])
		}
		pieces := x.round.list(begun)
		if block.To != x.rank() {
			r.held[block] = pieces
		} else if len(r.in[block.From]) > 0 && r.misfit == nil {
			rows.CopyAll(r.in[block.From][1:], pieces[1:])
		}
	}
	return nil
}
