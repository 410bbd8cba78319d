package striped

import (
	"context"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

// outgoing is a message that is being queued.
type outgoing struct {
	o     *outbox
	shape shape
	tag   transport.Tag
	src   source
	links []int // those chosen for the current block

	shards  [][]byte
	buffers []*buffer
}

// send queues a message for another rank. Nothing refers to bufs when it returns.
func (t *Transport) send(ctx context.Context, c *clock, to transport.Rank, tag transport.Tag, bufs [][]byte) *fault {
	total := rows.SizeOf(bufs)
	if most := t.cfg.longest(t.k); uint64(total) > most {
		return t.fail(to, fmt.Errorf("message of %d bytes, tag %#x, limit %d: %w", total, uint64(tag), most, transport.ErrTooLarge))
	}
	o := t.outboxes[to]
	if why := t.await(ctx, c, o.turn); why != nil {
		return t.interrupted(why, to, false)
	}
	defer func() { <-o.turn }()
	m := &outgoing{o: o, shape: t.cfg.cut(total, t.k), tag: tag, src: source{bufs: bufs}}
	for b := range m.shape.blocks() {
		if err := m.awaitLinks(ctx, c, b); err != nil {
			return t.interrupted(err, to, b > 0)
		}
		if err := m.queue(b); err != nil {
			return t.fail(t.rank, err)
		}
	}
	t.wireBytes.Add(uint64(total))
	return nil
}

// awaitLinks waits until block b can be queued, and chooses its links. Only the holder of
// the outbox's turn adds to the queues, so the result is valid until it does.
func (m *outgoing) awaitLinks(ctx context.Context, c *clock, b int) error {
	n := headerBytes + m.shape.length(b)
	for {
		ok, err := m.choose(n)
		if ok || err != nil {
			return err
		}
		if err := m.o.t.wait(ctx, c, m.o.changed); err != nil {
			return err
		}
	}
}

func (m *outgoing) choose(n int) (ok bool, err error) {
	o := m.o
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return false, errPeerLeft
	}
	m.links, ok = o.choose(m.links[:0], n)
	if ok && m.shape.k == 1 {
		m.links = o.chooseFew(m.links)
	}
	return ok, nil
}

// errPeerLeft stands for the end of an outbox: the peer has left, or this rank's transport has been
// closed or broken.
var errPeerLeft = errors.New("outbox has ended")

// queue codes block b and queues its stripes.
func (m *outgoing) queue(b int) error {
	var err error
	if m.shape.k == 1 {
		m.copyWhole(b)
	} else {
		err = m.code(b)
	}
	o := m.o
	o.mu.Lock()
	defer o.mu.Unlock()
	if b == 0 {
		o.next++
	}
	for _, link := range m.links {
		if err == nil {
			o.push(link, m.buffers[link])
			m.buffers[link] = nil
		}
	}
	for i, buf := range m.buffers { // stripes of links that are skipped
		o.t.pool.put(buf)
		m.buffers[i] = nil
	}
	return err
}

// header returns the head of a stripe of block b. The message's number is the next one while its
// first block has not been queued, and the last one afterwards.
func (m *outgoing) header(b, stripe int) header {
	number := m.o.next
	if b > 0 {
		number--
	}
	return header{
		kind: kindStripe, k: uint8(m.shape.k), m: uint8(m.o.t.cfg.Parity), message: number, tag: m.tag,
		total: uint64(m.shape.total), block: uint32(b), stripe: uint32(stripe),
	}
}

// copyWhole makes a copy of block b, which is one stripe, for each of the links chosen.
func (m *outgoing) copyWhole(b int) {
	t := m.o.t
	m.buffers = append(m.buffers[:0], make([]*buffer, len(t.links))...)
	first := m.links[0]
	for _, link := range m.links {
		buf := t.pool.get(headerBytes + m.shape.length(b))
		m.buffers[link] = buf
		if link != first {
			copy(buf.b, m.buffers[first].b)
			continue
		}
		m.src.read(buf.b[headerBytes:])
		h := m.header(b, 0)
		h.seal(buf)
	}
}

// code cuts block b into stripes and adds parity, if any is to be sent.
func (m *outgoing) code(b int) error {
	t, n := m.o.t, m.shape.length(b)
	m.shards, m.buffers = m.shards[:0], m.buffers[:0]
	for i := range t.links {
		buf := t.pool.get(headerBytes + n)
		payload := buf.b[headerBytes:]
		m.shards, m.buffers = append(m.shards, payload), append(m.buffers, buf)
		if i < t.k {
			from, to := m.shape.data(b, i)
			m.src.read(payload[:to-from])
			clear(payload[to-from:])
		}
	}
	if m.links[len(m.links)-1] >= t.k {
		if err := t.code.Encode(m.shards); err != nil {
			return fmt.Errorf("parity of %d stripes of %d bytes: %w", t.k, n, err)
		}
	}
	for _, link := range m.links {
		h := m.header(b, link)
		h.seal(m.buffers[link])
	}
	return nil
}
