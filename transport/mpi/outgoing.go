package mpi

import (
	"runtime"
	"slices"
	"unsafe"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

// maxEager is the longest message that is sent with its header, copied on both sides. Open MPI
// sends a frame of that length without asking the receiver first, over shared memory and most
// networks.
const maxEager = 4000 - headerBytes

// task is work for the port: a frame, or a transfer of s or r.
type task struct {
	frame bool
	peer  *peer
	header
	reason []byte // of an abort
	s      *send
	r      *receive
}

// queue holds tasks in order.
type queue struct {
	list []task
	head int
}

func (q *queue) empty() bool { return q.head == len(q.list) }

func (q *queue) push(k task) {
	if q.empty() {
		q.list, q.head = q.list[:0], 0
	}
	q.list = append(q.list, k)
}

func (q *queue) pop() {
	q.list[q.head] = task{}
	q.head++
}

// filter drops the tasks for which keep is false, and returns their number.
func (q *queue) filter(keep func(k *task) bool) int {
	before := q.list[q.head:]
	q.list = slices.DeleteFunc(before, func(k task) bool { return !keep(&k) })
	q.head = 0
	return len(before) - len(q.list)
}

// none is no slot.
const none int32 = -1

// request is a request that the port has started.
type request struct {
	slot   int32 // of a frame, else none
	notice bool  // an abort or a farewell
	s      *send
	r      *receive
	bytes  int64 // of a transfer
}

func (t *Transport) newRequest(r request) int32 {
	t.active++
	if n := len(t.unused); n > 0 {
		id := t.unused[n-1]
		t.unused = t.unused[:n-1]
		t.requests[id] = r
		return id
	}
	t.requests = append(t.requests, r)
	return int32(len(t.requests) - 1)
}

func (t *Transport) freeRequest(id int32) {
	t.active--
	t.requests[id] = request{slot: none}
	t.unused = append(t.unused, id)
}

// submit sends a message: to a receive of this rank, or whole after its header, or announced and in
// transfers, which MPI begins when the receiver has posted them.
func (t *Transport) submit(s *send) *fault {
	p := s.peer
	switch {
	case p.rank == t.rank:
		return t.submitToSelf(s)
	case !p.gone.IsZero():
		return &fault{p.rank, transport.ErrPeerClosed}
	}
	h := header{kind: kindEager, tag: s.tag, bytes: uint64(s.bytes)}
	if cost := s.bytes + messageOverhead; s.bytes <= maxEager && cost <= p.room {
		p.room -= cost
		s.call.staged++
		t.work.push(task{frame: true, peer: p, header: h, s: s})
	} else {
		s.id = p.lastID + 1
		p.lastID += uint64(t.transfers(s.bytes))
		h.kind, h.id = kindAnnounce, s.id
		t.work.push(task{frame: true, peer: p, header: h, s: s})
		t.work.push(task{peer: p, s: s})
	}
	t.nudge()
	return nil
}

// submitToSelf delivers a message of this rank to itself, or keeps it until it is received.
func (t *Transport) submitToSelf(s *send) *fault {
	r, err := s.peer.Arrive(s.tag, s.bytes)
	switch {
	case err != nil:
		return &fault{s.peer.rank, err}
	case r != nil:
		r.n = rows.CopyAll(r.bufs, s.bufs)
		r.received()
	default:
		m := t.newMessage(s.tag, s.bytes)
		m.store = slices.Grow(m.store, s.bytes)[:s.bytes]
		rows.Gather(m.store, s.bufs)
		s.peer.Keep(m.tag, m.bytes, m)
	}
	s.finished()
	return nil
}

// finished completes s, whose buffers belong to the caller again.
func (s *send) finished() {
	if !s.large() && s.peer.rank != s.call.t.rank {
		s.call.staged--
	}
	s.state = sendDone
	s.call.oneDone()
}

// fill moves tasks into the batch, up to the number of free slots and commands.
func (t *Transport) fill() {
	b := t.batch
	b.commands, b.pieces = b.commands[:0], b.pieces[:0]
	for ; !t.work.empty() && len(b.commands) < maxCommands; t.work.pop() {
		k := &t.work.list[t.work.head]
		if !k.frame {
			t.transfer(k)
		} else if !t.stage(k) {
			break
		}
	}
	b.done = slices.Grow(b.done[:0], t.active)
}

// stage writes a frame into an outgoing slot, and reports whether there was one.
func (t *Transport) stage(k *task) bool {
	last := len(t.slots) - 1
	if last < 0 {
		return false
	}
	slot := t.slots[last]
	t.slots = t.slots[:last]
	mem := t.port.outbound(slot)
	k.credit, k.peer.owed = uint32(k.peer.owed), 0
	k.put(mem)
	n := headerBytes
	req := request{slot: slot}
	switch k.kind {
	case kindEager:
		rows.Gather(mem[n:], k.s.bufs)
		n += k.s.bytes
		k.s.state = sendMoving
		req.s = k.s
	case kindAnnounce:
		k.s.state = sendMoving
	case kindAbort, kindFarewell:
		n += copy(mem[n:], k.reason)
		req.notice = true
	}
	id := t.newRequest(req)
	t.batch.commands = append(t.batch.commands, command{
		kind: sendFrame, peer: int32(k.peer.rank), id: id, bytes: int64(n), first: slot,
	})
	return true
}

// transfers is how many transfers the bytes of an announced message take, at least one.
func (t *Transport) transfers(bytes int) int { return max(1, (bytes-1)/t.cfg.transferBytes+1) }

// transfer adds the transfers of an announced message, directly from or to the caller's buffers.
func (t *Transport) transfer(k *task) {
	kind, id, rest, left, pin := sendData, uint64(0), pieces{}, 0, (*runtime.Pinner)(nil)
	if s := k.s; s != nil {
		id, rest, left, pin = s.id, pieces{bufs: s.bufs}, s.bytes, s.pin
		s.transfers = t.transfers(left)
	} else {
		r := k.r
		kind, id, rest, left, pin = recvData, r.id, pieces{bufs: r.bufs}, r.n, r.pin
		r.transfers = t.transfers(left)
	}
	for range t.transfers(left) {
		n := min(left, t.cfg.transferBytes)
		left -= n
		c := command{
			kind: kind, peer: int32(k.peer.rank), tag: t.dataTag(id), bytes: int64(n), first: int32(len(t.batch.pieces)),
			id: t.newRequest(request{slot: none, s: k.s, r: k.r, bytes: int64(n)}),
		}
		for n > 0 {
			b := rest.next(n)
			n -= len(b)
			pin.Pin(&b[0])
			t.batch.pieces = append(t.batch.pieces, piece{uintptr(unsafe.Pointer(&b[0])), int64(len(b))})
			c.count++
		}
		t.batch.commands = append(t.batch.commands, c)
		id++
	}
}

// pieces cuts the concatenation of bufs into pieces that lie in one buffer each.
type pieces struct {
	bufs [][]byte
	at   int // within bufs[0]
}

// next returns the next piece, of 1 to n bytes. At least one byte must be left.
func (p *pieces) next(n int) []byte {
	for p.at == len(p.bufs[0]) {
		p.bufs, p.at = p.bufs[1:], 0
	}
	b := p.bufs[0][p.at:]
	b = b[:min(len(b), n)]
	p.at += len(b)
	return b
}

// dataTag is MPI's tag for transfer number id: no other one of the pair has it at the same time.
func (t *Transport) dataTag(id uint64) int32 { return int32(1 + id%t.tagSpan) }
