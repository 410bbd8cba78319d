package alltoall

import (
	"sync"

	"gonum.org/v1/gonum/blas/blas32"
)

// Handle is one exchange of rows, which [Exchange.Begin] begins: rows travel to their experts and
// answers back, and then, for a backward pass, gradients travel the same way, without counts. One
// way there and back is a trip; Dispatch begins the first, DispatchBack every other.
//
// All ranks make the same calls in the same order. A call out of order is [ErrOrder]; it, and one
// whose matrices do not fit, names the rank, the operation and the value, sends nothing and changes
// nothing.
//
//	call               allowed                                   memory
//	Dispatch(c)        in the first trip, for c = 0, 1, …        the request's rows are read until
//	                                                             the last chunk's returns; rows
//	                                                             and ends are lent until Release
//	Combine(c)         after the Dispatch or DispatchBack of     answers are read until it returns;
//	                   chunk c in this trip, for c = 0, 1, …     its result is lent until Release
//	Recut              after the last chunk's Combine            —
//	DispatchBack(c)    for c = 0 after the last chunk's Combine  rows are read until it returns; its
//	                   of the trip before; then for c = 1, 2, …  result is lent until Release
//	Plan, Algorithm,   until Release                             the plan, allocation and loads
//	Chunks, Chunk,                                               are lent until Release
//	Allocation, Loads
//	Release            at any time; again it does nothing        gives back all that was lent
//
// What is lent may be written to, but for what the calls of the last rows return. Combine of one
// chunk may come before Dispatch of the next. After a call that failed in any other way only
// Release is allowed. After Release a later Begin may return the same Handle, so it must not be
// used again.
type Handle struct {
	x    *Exchange
	plan Plan
	lent [][]float32
	progress

	algorithm Algorithm // of all its rounds
	cut       Cut
	computed
	loads      Loads // if they are known
	allocation Allocation
	digest     uint64  // of the allocation
	perRank    []int64 // scratch
	counts     Counts  // of this rank's rows, by expert and leaf
	raw        source  // of the first trip, as it is given
	src        source  // of the first trip, until all of it has left
	packed     []float32
	sentEnds   []int // where what goes to each rank ends, if classes of links differ
	encoded    [linkClasses]encodedRows
	unwritten  error // why it has not
	preparing  sync.WaitGroup
	packing    func()         // pack, made once
	in         blas32.General // the rows that this trip brings
	home       blas32.General // the answers that this trip brings back
}

// newHandle returns a handle in the memory of one that has been released, if there is any.
func (x *Exchange) newHandle() *Handle {
	x.handles++
	last := len(x.spare) - 1
	if last < 0 {
		return &Handle{x: x, progress: progress{live: true}}
	}
	h := x.spare[last]
	x.spare, h.progress = x.spare[:last], progress{live: true}
	return h
}

// Plan returns where rows come from and stand. The caller must not change it.
func (h *Handle) Plan() *Plan { return &h.plan }

// Allocation returns how experts are shared out, empty if they are not. It is lent until Release;
// the caller must not change it.
func (h *Handle) Allocation() Allocation { return h.allocation }

// Loads returns the rows of all ranks, or nil unless [Config.Allocates]. They are lent until
// Release; the caller must not change them.
func (h *Handle) Loads() *Loads {
	if !h.x.allocates {
		return nil
	}
	return &h.loads
}

// Algorithm is the one of all rounds of this exchange: never Auto.
func (h *Handle) Algorithm() Algorithm { return h.algorithm }

// Chunks is the number of chunks of the trip.
func (h *Handle) Chunks() int { return h.cut.Chunks() }

// Chunk says which rows are in a chunk.
func (h *Handle) Chunk(chunk int) Chunk {
	me := h.receiver(h.x.rank())
	c := Chunk{EndExpert: me.computed, Ranks: h.cut.listed(me, chunk)}
	if c.Ranks == nil {
		c.FirstExpert, c.EndExpert = h.cut.experts(me, 0, chunk)
	}
	return c
}

// Recut cuts the trips that follow into another number of chunks, the same on all ranks, by experts
// or by ranks as before.
func (h *Handle) Recut(chunks int) error {
	if err := h.betweenTrips("recut"); err != nil {
		return err
	}
	if chunks < 1 {
		return h.x.misuse("recut", "%d chunks, want 1 or more", chunks)
	}
	h.cut = h.cut.with(chunks)
	h.restart()
	return nil
}

// Release ends the exchange, and gives all memory that it has lent back. The handle, its plan and
// the matrices that it returned must not be used again.
func (h *Handle) Release() {
	if !h.live {
		return
	}
	h.live = false
	h.x.handles--
	for i, data := range h.lent {
		h.x.pool.put(data)
		h.lent[i] = nil
	}
	h.lent = h.lent[:0]
	h.in, h.home = blas32.General{}, blas32.General{}
	h.dropSource()
	h.x.spare = append(h.x.spare, h)
}

func (h *Handle) lend(m blas32.General) blas32.General {
	h.lent = append(h.lent, m.Data)
	return m
}

// begin begins a round of the handle's.
func (h *Handle) begin() {
	h.x.seq++
	h.x.now = h.algorithm
	h.x.round.begin()
}

// dropSource gives back what the first trip read.
func (h *Handle) dropSource() {
	h.x.pool.put(h.packed)
	h.raw, h.src, h.packed, h.unwritten = source{}, source{}, nil, nil
}
