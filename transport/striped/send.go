package striped

import (
	"context"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
)

// outgoing is a message on its way into the queues.
type outgoing struct {
	o     *outbox
	shape shape
	tag   transport.Tag
	src   source
	lanes []int // those chosen for the block at hand

	shards  [][]byte
	buffers []*buffer
}

// send queues a message for another rank. Nothing refers to bufs when it returns.
func (t *Transport) send(ctx context.Context, c *clock, to transport.Rank, tag transport.Tag, bufs [][]byte) *fault {
	total := sizeOf(bufs)
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
		if err := m.awaitLanes(ctx, c, b); err != nil {
			return t.interrupted(err, to, b > 0)
		}
		if err := m.queue(b); err != nil {
			return t.fail(t.rank, err)
		}
	}
	t.wireBytes.Add(uint64(total))
	return nil
}

// awaitLanes waits until block b can be queued, and chooses its lanes. It is the holder of the
// outbox's turn alone who adds to the queues, so what it finds stays true until it adds itself.
func (m *outgoing) awaitLanes(ctx context.Context, c *clock, b int) error {
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
	m.lanes, ok = o.choose(m.lanes[:0], n)
	if ok && m.shape.k == 1 {
		m.lanes = o.chooseFew(m.lanes)
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
	for _, lane := range m.lanes {
		if err == nil {
			o.push(lane, m.buffers[lane])
			m.buffers[lane] = nil
		}
	}
	for i, buf := range m.buffers { // stripes of lanes that are passed over
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

// copyWhole makes a copy of block b, which is one stripe, for each of the lanes chosen.
func (m *outgoing) copyWhole(b int) {
	t := m.o.t
	m.buffers = append(m.buffers[:0], make([]*buffer, len(t.lanes))...)
	first := m.lanes[0]
	for _, lane := range m.lanes {
		buf := t.pool.get(headerBytes + m.shape.length(b))
		m.buffers[lane] = buf
		if lane != first {
			copy(buf.b, m.buffers[first].b)
			continue
		}
		m.src.read(buf.b[headerBytes:])
		h := m.header(b, 0)
		h.seal(buf)
	}
}

// code cuts block b into stripes and adds parity, where any is to be sent.
func (m *outgoing) code(b int) error {
	t, n := m.o.t, m.shape.length(b)
	m.shards, m.buffers = m.shards[:0], m.buffers[:0]
	for i := range t.lanes {
		buf := t.pool.get(headerBytes + n)
		payload := buf.b[headerBytes:]
		m.shards, m.buffers = append(m.shards, payload), append(m.buffers, buf)
		if i < t.k {
			from, to := m.shape.data(b, i)
			m.src.read(payload[:to-from])
			clear(payload[to-from:])
		}
	}
	if m.lanes[len(m.lanes)-1] >= t.k {
		if err := t.code.Encode(m.shards); err != nil {
			return fmt.Errorf("parity of %d stripes of %d bytes: %w", t.k, n, err)
		}
	}
	for _, lane := range m.lanes {
		h := m.header(b, lane)
		h.seal(m.buffers[lane])
	}
	return nil
}
