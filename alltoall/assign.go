package alltoall

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/transport"
)

// Every rank makes the allocation of an exchange itself. In the first chunk each message begins
// with the digest of it, and each rank sends one to every other, so that all find out if they
// differ: none waits for a message that does not come.

// digestBytes is the length of a digest, which is 0 of a rank that has no allocation, since it has
// failed to make one.
const digestBytes = 8

// assign says which ranks compute which experts, and sets the rows that from tells of to those for
// the experts computed here.
func (h *Handle) assign(ctx context.Context, q *Request, from []announcement) error {
	x := h.x
	h.hosted(x.placement, q.Counts)
	h.allocation, h.digest = h.allocation[:0], 0
	if !x.allocates {
		return nil
	}
	if err := h.allocate(q); err != nil {
		return h.withdraw(ctx, err)
	}
	h.digest = h.allocation.Digest()
	if len(h.allocation) > 0 {
		h.share(h.allocation, &h.loads, q.Counts, mat.Sum(h.loads.Leaves[:x.rank()]))
		if q.Like != nil { // so that chunks are the same
			copy(h.rows, q.Like.rows)
		}
	}
	h.countComputed(from)
	return nil
}

// allocate makes the allocation. All ranks find the same error, if they have the same allocation.
func (h *Handle) allocate(q *Request) error {
	var a Allocation
	if q.Like != nil {
		a = q.Like.allocation
	}
	if q.Allocate != nil {
		var err error
		if a, err = q.Allocate(&h.loads); err != nil {
			return fmt.Errorf("Allocate: %w", err)
		}
	}
	if err := a.Validate(&h.loads, Limits{Slots: math.MaxInt}); err != nil {
		return err
	}
	h.allocation = append(h.allocation, a...)
	h.perRank = cleared(h.perRank, h.x.size())
	for r, n := range h.allocation.rows(&h.loads, h.perRank) {
		if n > int64(h.x.maxRows) {
			return fmt.Errorf("%w: %d rows for rank %d, MaxRows is %d", transport.ErrTooLarge, n, r, h.x.maxRows)
		}
	}
	return nil
}

// countComputed sets the rows that each rank has for each of the experts computed here.
func (h *Handle) countComputed(from []announcement) {
	begin, end := h.place.Of(h.x.rank())
	first := 0
	for s := range from {
		rows, last := h.x.round.takeInts(end-begin), first+h.loads.Leaves[s]
		for i := range rows {
			run := h.run(begin + i)
			a := min(max(run.First, first), last)
			b := min(max(run.End, a), last)
			rows[i] = int(h.loads.Of(run.Expert, a, b))
		}
		from[s].rows, first = rows, last
	}
}

// run is what the i-th computed expert is.
func (h *Handle) run(i int) Run {
	if len(h.of) == 0 {
		return Run{Expert: i, End: h.loads.TotalLeaves()}
	}
	return h.of[i]
}

// endsOfLoads appends to the plan where the rows of a chunk end, leaf by leaf.
func (h *Handle) endsOfLoads(chunk int) {
	me, p := h.receiver(h.x.rank()), &h.plan
	leaves, before := p.TotalLeaves(), h.place.First[me.rank]
	begin, end := h.cut.span(me, chunk)
	for i := begin; i < end; i++ {
		e, s := h.cut.segment(me, i)
		run, row := h.run(before+e), p.Segment(e, s).First
		first := mat.Sum(p.Leaves[:s])
		for l := first; l < first+p.Leaves[s]; l++ {
			if run.First <= l && l < run.End {
				row += int(h.loads.Rows[run.Expert*leaves+l])
			}
			p.Ends = append(p.Ends, row)
		}
	}
}

// withdraw tells the other ranks that this one has no allocation because of cause, and returns an
// error: [ErrRefused] if no rank has one.
func (h *Handle) withdraw(ctx context.Context, cause error) error {
	x := h.x
	h.begin()
	defer x.round.end()
	x.round.dedup, x.round.digests, x.round.digest = true, true, 0
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		x.send(r, x.round.one(h.introduction(0)))
		x.recv(r, x.round.one(h.introduction(0)))
	}
	if err := x.run(ctx, "dispatch"); err != nil {
		return errors.Join(x.misuse("begin", "%w", cause), err)
	}
	return x.misuse("begin", "%w: %w", ErrRefused, cause)
}

// introduces reports whether the messages of a chunk of the first trip begin with a digest.
func (h *Handle) introduces(chunk int) bool { return h.x.allocates && chunk == 0 }

// introduction is what messages of a chunk begin with if every rank knows the loads. It is also
// room for that of another rank, which is as this rank's until it has come.
func (h *Handle) introduction(chunk int) []byte {
	if !h.introduces(chunk) {
		return nil
	}
	return binary.LittleEndian.AppendUint64(h.x.round.takeBytes(digestBytes)[:0], h.digest)
}

// compareDigests returns an error if a message of the round has another digest than this rank.
func (x *Exchange) compareDigests(op string) error {
	if !x.round.digests {
		return nil
	}
	me := transport.Joined(x.t, x.t.Rank())
	for _, m := range x.round.recvs {
		if len(m.Bufs) == 0 || len(m.Bufs[0]) < digestBytes {
			continue
		}
		switch d := binary.LittleEndian.Uint64(m.Bufs[0]); {
		case d == x.round.digest:
		case d == 0:
			return x.fault(int(m.Peer), op, transport.ErrMismatch, "it has no allocation of experts, as its own error says, and rank %d has one", me)
		default:
			return x.fault(int(m.Peer), op, transport.ErrMismatch, "its allocation of experts is not that of rank %d; Allocate must return the same on every rank", me)
		}
	}
	return nil
}

// forgetDigests makes buffers that may be room for digests as if none had come.
func (x *Exchange) forgetDigests(bufs [][]byte) {
	for _, buf := range bufs {
		if len(buf) == digestBytes {
			binary.LittleEndian.PutUint64(buf, x.round.digest)
		}
	}
}

// misfit is the error if rows of rank from, in a message of peer, do not have the length that they
// have by this rank's counts and allocation.
func (x *Exchange) misfit(peer, from int, op, format string, args ...any) error {
	if x.round.digests {
		args = append(args, transport.Joined(x.t, x.t.Rank()))
		return x.fault(from, op, transport.ErrMismatch, format+" by the allocation of rank %d", args...)
	}
	return x.fault(peer, op, transport.ErrProtocol, format, args...)
}
