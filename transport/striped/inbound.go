package striped

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
)

// inbound is a message that is arriving. Guarded by the inbox's lock, but for the bytes that to
// refers to: each goroutine that is counted in writers may write the stripe that it has claimed.
type inbound struct {
	number uint64
	tag    transport.Tag
	shape  shape
	taker  *receive

	hasMemory bool   // it has memory, which is
	to        spans  // this: the receive's buffers, or store
	store     []byte // memory of its own, if it came before a receive asked for it

	blocks    []block // once it has memory: a length that a peer announces reserves nothing
	left      int     // blocks that are not whole
	writers   int
	abandoned bool // the receive is gone or too small: nothing may be written any more
}

// block is what has arrived of one block.
type block struct {
	claimed uint64 // stripes that have arrived intact; a bit each
	claims  uint8
	written uint8 // of the claimed ones, those that have been stored
	corrupt uint64
	parity  []*buffer // parity stripes, by number less k
}

func newInbound(number uint64, tag transport.Tag, s shape) *inbound {
	return &inbound{number: number, tag: tag, shape: s, left: s.blocks()}
}

func (m *inbound) setMemory(bufs [][]byte) {
	m.to, m.blocks, m.hasMemory = newSpans(bufs), make([]block, m.left), true
}

// take takes a stripe that arrived on link, and reports whether it keeps the frame's memory. It
// waits while the stripe belongs to a message that another link has still to announce, or that
// there is no room for.
func (b *inbox) take(link int, h *header, f *buffer) (kept bool, err error) {
	s, err := h.check(&b.t.cfg, len(b.t.links), link)
	if err != nil {
		return false, err
	}
	payload := f.b[headerBytes:]
	intact := h.intact(payload)
	b.mu.Lock()
	defer b.mu.Unlock()
	for h.message > b.next && b.t.usable() {
		b.changed.Wait()
	}
	m := b.open[h.message]
	if h.message == b.next && b.t.usable() {
		if m, err = b.announce(h, s); err != nil {
			return false, err
		}
	}
	if m == nil {
		return false, nil // too late, or the transport is unusable
	}
	if m.tag != h.tag || m.shape != s {
		return false, fmt.Errorf("message %d is %d bytes under tag %#x, and %d under %#x: %w",
			h.message, m.shape.total, uint64(m.tag), s.total, uint64(h.tag), transport.ErrProtocol)
	}
	for !m.hasMemory && !m.abandoned && b.t.usable() && !b.admit(m) {
		b.changed.Wait()
	}
	if !intact && m.hasMemory {
		return false, b.lose(m, h, link)
	}
	if !intact {
		return false, nil
	}
	return b.claim(m, h, link, f)
}

// lose counts a corrupt stripe: a block with more than m of them cannot be recovered. mu is held.
func (b *inbox) lose(m *inbound, h *header, link int) error {
	blk := &m.blocks[h.block]
	blk.corrupt |= 1 << link
	b.t.corrupted(link, b.peer, h)
	lost := 0
	for c := blk.corrupt; c != 0; c &= c - 1 {
		lost++
	}
	if lost <= b.t.cfg.Parity || int(blk.claims) == m.shape.k {
		return nil
	}
	return fmt.Errorf("message %d, block %d: %d stripes corrupt, parity %d: %w",
		m.number, h.block, lost, b.t.cfg.Parity, transport.ErrCorrupt)
}

// claim stores a stripe unless it is not needed. mu is held, but released while bytes are copied.
func (b *inbox) claim(m *inbound, h *header, link int, f *buffer) (kept bool, err error) {
	if !m.hasMemory || m.abandoned || !b.t.usable() {
		return false, nil
	}
	blk := &m.blocks[h.block]
	bit := uint64(1) << h.stripe
	if int(blk.claims) == m.shape.k || blk.claimed&bit != 0 {
		return false, nil
	}
	blk.claimed |= bit
	blk.claims++
	if p := int(h.stripe) - m.shape.k; p >= 0 {
		if blk.parity == nil {
			blk.parity = make([]*buffer, b.t.cfg.Parity)
		}
		blk.parity[p], kept = b.t.pool.fit(f)
		blk.written++
	} else {
		b.unlocked(m, func() { m.write(h, f.b[headerBytes:]) })
		blk.written++
	}
	if int(blk.written) < m.shape.k {
		return kept, nil
	}
	if blk.parity != nil {
		b.unlocked(m, func() { err = m.decode(b.t, int(h.block)) })
	}
	if m.left--; m.left == 0 {
		b.whole(m)
	}
	return kept, err
}

// unlocked runs do, which writes to m, without the lock. mu is held.
func (b *inbox) unlocked(m *inbound, do func()) {
	m.writers++
	b.mu.Unlock()
	do()
	b.mu.Lock()
	if m.writers--; m.abandoned && m.writers == 0 {
		b.changed.Broadcast()
	}
}

// write stores a data stripe, without the zeros that it was filled up with.
func (m *inbound) write(h *header, payload []byte) {
	from, to := m.shape.data(int(h.block), int(h.stripe))
	m.to.write(from, payload[:to-from])
}
