package alltoall

import "github.com/switchyard-moe/switchyard/internal/mat"

// Cut divides an exchange into chunks, so that experts compute on one while another travels. It is
// [ByExperts] or [ByRanks]. A chunk is the rows from some ranks for some of the experts hosted
// here, one run of all rows that arrive. Every row is in one chunk, and nothing is computed
// differently than in one chunk, so the bits are the same.
//
// Rows arrive in segments: a segment is the rows of one rank for one expert. A Cut says in which
// order the segments stand, and which of them are a chunk.
type Cut interface {
	// Chunks is the number of chunks.
	Chunks() int

	// with is the same Cut with another number of chunks, in which segments stand in the same order.
	with(chunks int) Cut
	// segment is the i-th segment: the number of its expert among those hosted here, and its sender.
	segment(r receiver, i int) (expert, sender int)
	// span is the range of the segments of a chunk.
	span(r receiver, chunk int) (begin, end int)
	// experts is the range, among the experts hosted by a rank, of those whose rows of the rank that
	// is the given number of ranks ahead of it are in a chunk.
	experts(r receiver, ahead, chunk int) (begin, end int)
	// messages is the number of messages from one rank to another in the whole exchange.
	messages() int
	// listed returns the ranks whose rows are a chunk, or nil if it has rows of all of them.
	listed(r receiver, chunk int) []int
}

// receiver is a rank that receives rows, the number of ranks, and the number of experts that it
// hosts.
//
// Chunks cut by experts are whole groups, into which its experts are divided.
type receiver struct{ rank, ranks, hosted, groups int }

// divide returns the range of the given chunk of n things, divided as evenly as can be.
func divide(n, chunk, chunks int) (begin, end int) {
	return n * chunk / chunks, n * (chunk + 1) / chunks
}

// ByExperts cuts an exchange into this number of chunks by experts: the experts of each rank are
// divided into as many runs, of whole [Config.Groups], and a chunk is the rows for one run of each
// rank. Rows arrive sorted by expert, then by rank. (Tutel's and PipeMoE's pipelines cut by rows.)
type ByExperts int

// Chunks is the number of chunks.
func (c ByExperts) Chunks() int { return int(c) }

func (c ByExperts) with(chunks int) Cut { return ByExperts(chunks) }

func (c ByExperts) segment(r receiver, i int) (expert, sender int) { return i / r.ranks, i % r.ranks }

func (c ByExperts) span(r receiver, chunk int) (begin, end int) {
	begin, end = c.experts(r, 0, chunk)
	return begin * r.ranks, end * r.ranks
}

func (c ByExperts) experts(r receiver, _, chunk int) (begin, end int) {
	if r.groups == 0 {
		return divide(r.hosted, chunk, int(c))
	}
	begin, end = divide(r.groups, chunk, int(c))
	return r.hosted * begin / r.groups, r.hosted * end / r.groups
}

func (c ByExperts) messages() int { return int(c) }

func (c ByExperts) listed(receiver, int) []int { return nil }

// ByRanks cuts an exchange into this number of chunks by ranks, for ranks that host fewer experts
// than there are chunks: a chunk is the rows from some of the ranks, for all experts hosted here.
// Rows arrive sorted by rank, from this one on, then by expert. The first chunk has the rank's own
// rows. Every rank begins with the ranks that follow it, so that links are equally busy in each
// chunk, and there are no more messages than in one chunk. Chunks beyond the number of ranks are
// empty.
type ByRanks int

// Chunks is the number of chunks.
func (c ByRanks) Chunks() int { return int(c) }

func (c ByRanks) with(chunks int) Cut { return ByRanks(chunks) }

func (c ByRanks) segment(r receiver, i int) (expert, sender int) {
	return i % r.hosted, (r.rank + i/r.hosted) % r.ranks
}

func (c ByRanks) span(r receiver, chunk int) (begin, end int) {
	begin, end = divide(r.ranks, chunk, int(c))
	return begin * r.hosted, end * r.hosted
}

func (c ByRanks) experts(r receiver, ahead, chunk int) (begin, end int) {
	if begin, end = divide(r.ranks, chunk, int(c)); ahead < begin || ahead >= end {
		return 0, 0
	}
	return 0, r.hosted
}

func (c ByRanks) messages() int { return 1 }

func (c ByRanks) listed(r receiver, chunk int) []int {
	begin, end := divide(r.ranks, chunk, int(c))
	list := make([]int, 0, end-begin)
	for ahead := begin; ahead < end; ahead++ {
		list = append(list, (r.rank+ahead)%r.ranks)
	}
	return list
}

// Chunk says which rows a chunk has.
type Chunk struct {
	// FirstExpert and EndExpert are the range of its experts among those hosted here.
	FirstExpert, EndExpert int
	// Ranks are the ranks that its rows come from, in the order in which they arrive, or nil for all.
	Ranks []int
}

// receiver is this rank as one that receives rows.
func (h *Handle) receiver() receiver {
	return receiver{rank: h.x.rank(), ranks: h.x.size(), hosted: h.plan.Experts, groups: h.x.groups}
}

// arriving is the range of the experts hosted here whose rows of rank s arrive in a chunk.
func (h *Handle) arriving(s, chunk int) (begin, end int) {
	me := h.receiver()
	return h.cut.experts(me, (s-me.rank+me.ranks)%me.ranks, chunk)
}

// leaving is the range, among all experts, of those of rank r whose rows leave here in a chunk.
func (h *Handle) leaving(r, chunk int) (begin, end int) {
	x := h.x
	first, last := x.placement.Of(r)
	there := receiver{rank: r, ranks: x.size(), hosted: last - first, groups: x.groups}
	begin, end = h.cut.experts(there, (x.rank()-r+x.size())%x.size(), chunk)
	return first + begin, first + end
}

// arrivingRows is the run of the rows that arrive in a chunk.
func (h *Handle) arrivingRows(chunk int) (first, n int) {
	me := h.receiver()
	begin, end := h.cut.span(me, chunk)
	if begin == end {
		return 0, 0
	}
	from, to := h.plan.Segment(h.cut.segment(me, begin)), h.plan.Segment(h.cut.segment(me, end-1))
	return from.First, to.First + to.Rows - from.First
}

// arrivingFrom is the number of rows of rank s that arrive in a chunk.
func (h *Handle) arrivingFrom(s, chunk int) (n int) {
	begin, end := h.arriving(s, chunk)
	for e := begin; e < end; e++ {
		n += h.plan.Segment(e, s).Rows
	}
	return n
}

// leavingRows is the run of this rank's rows, sorted by expert, that go to rank r in a chunk.
func (h *Handle) leavingRows(r, chunk int) (first, n int) {
	begin, end := h.leaving(r, chunk)
	before, _ := h.x.placement.Of(r)
	first = mat.Sum(h.plan.Sent[:r]) + mat.Sum(h.counts.ofExperts(before, begin))
	return first, mat.Sum(h.counts.ofExperts(begin, end))
}
