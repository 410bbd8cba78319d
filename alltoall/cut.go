package alltoall

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
	// segment is the i-th segment: the number of its expert among those computed here, and its sender.
	segment(r receiver, i int) (expert, sender int)
	// span is the range of the segments of a chunk.
	span(r receiver, chunk int) (begin, end int)
	// experts is the range, among the experts computed by a rank, of those whose rows of the rank that
	// is the given number of ranks ahead of it are in a chunk.
	experts(r receiver, ahead, chunk int) (begin, end int)
	// messages is the number of messages from one rank to another in the whole exchange.
	messages() int
	// listed returns the ranks whose rows are a chunk, or nil if it has rows of all of them.
	listed(r receiver, chunk int) []int
}

// receiver is a rank that receives rows, the number of ranks, and the number of experts that it
// computes: of all, and of those that it hosts, which come first.
//
// Chunks cut by experts are whole groups, into which the experts that it hosts are divided.
type receiver struct {
	rank, ranks, computed, hosted, groups int
	// rows are those of all ranks for each of its experts, or none if no expert is shared out.
	rows []int64
}

// units is the number of parts that no chunk divides: groups, or else experts, and runs.
func (r *receiver) units() (units, groups int) {
	if groups = r.groups; groups == 0 {
		groups = r.hosted
	}
	return groups + r.computed - r.hosted, groups
}

// nearest is the end of the unit, counted by experts, that has the number of rows before it which
// is nearest to those of i of n chunks of equal work; of two that are as near the first.
func (r *receiver) nearest(i, n int) int {
	units, groups := r.units()
	total, row, expert := int64(0), int64(0), 0
	for _, rows := range r.rows {
		total += rows
	}
	best, least := 0, int64(i)*total
	for unit := 1; unit <= units; unit++ {
		end := r.hosted + unit - groups
		if unit <= groups {
			end = r.hosted * unit / groups
		}
		for ; expert < end; expert++ {
			row += r.rows[expert]
		}
		off := row*int64(n) - int64(i)*total
		if off = max(off, -off); off < least {
			best, least = end, off
		}
	}
	return best
}

// divide returns the range of the given chunk of n things, divided as evenly as can be.
func divide(n, chunk, chunks int) (begin, end int) {
	return n * chunk / chunks, n * (chunk + 1) / chunks
}

// ByExperts cuts an exchange into this number of chunks by experts: the experts of each rank are
// divided into as many ranges, of whole [Config.Groups], and a chunk is the rows for one range of
// each rank. Rows arrive sorted by expert, then by rank. (Tutel's and PipeMoE's pipelines cut by
// rows.)
//
// If experts are shared out the groups of each rank and then its runs are divided where the rows
// before are nearest to i/n of all that the rank computes, for each chunk i of n.
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
	if len(r.rows) > 0 {
		if end = r.computed; chunk+1 < int(c) {
			end = r.nearest(chunk+1, int(c))
		}
		return r.nearest(chunk, int(c)), end
	}
	if r.groups == 0 {
		return divide(r.hosted, chunk, int(c))
	}
	begin, end = divide(r.groups, chunk, int(c))
	return r.hosted * begin / r.groups, r.hosted * end / r.groups
}

func (c ByExperts) messages() int { return int(c) }

func (c ByExperts) listed(receiver, int) []int { return nil }

// ByRanks cuts an exchange into this number of chunks by ranks, for ranks that host fewer experts
// than there are chunks: a chunk is the rows from some of the ranks, for all experts computed here.
// Rows arrive sorted by rank, from this one on, then by expert. The first chunk has the rank's own
// rows. Every rank begins with the ranks that follow it, so that links are equally busy in each
// chunk, and there are no more messages than in one chunk. Chunks beyond the number of ranks are
// empty.
type ByRanks int

// Chunks is the number of chunks.
func (c ByRanks) Chunks() int { return int(c) }

func (c ByRanks) with(chunks int) Cut { return ByRanks(chunks) }

func (c ByRanks) segment(r receiver, i int) (expert, sender int) {
	return i % r.computed, (r.rank + i/r.computed) % r.ranks
}

func (c ByRanks) span(r receiver, chunk int) (begin, end int) {
	begin, end = divide(r.ranks, chunk, int(c))
	return begin * r.computed, end * r.computed
}

func (c ByRanks) experts(r receiver, ahead, chunk int) (begin, end int) {
	if begin, end = divide(r.ranks, chunk, int(c)); ahead < begin || ahead >= end {
		return 0, 0
	}
	return 0, r.computed
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
	// FirstExpert and EndExpert are the range of its experts among those computed here.
	FirstExpert, EndExpert int
	// Ranks are the ranks that its rows come from, in the order in which they arrive, or nil for all.
	Ranks []int
}

// receiver is a rank as one that receives rows.
func (h *Handle) receiver(rank int) receiver {
	begin, end := h.place.Of(rank)
	r := receiver{
		rank: rank, ranks: h.x.size(), computed: end - begin, hosted: h.x.placement.Count(rank), groups: h.x.groups,
	}
	if len(h.rows) > 0 {
		r.rows = h.rows[begin:end]
	}
	return r
}

// arriving is the range of the experts computed here whose rows of rank s arrive in a chunk.
func (h *Handle) arriving(s, chunk int) (begin, end int) {
	me := h.receiver(h.x.rank())
	return h.cut.experts(me, (s-me.rank+me.ranks)%me.ranks, chunk)
}

// leaving is the range, among those that all ranks compute, of the experts of rank r whose rows
// leave here in a chunk.
func (h *Handle) leaving(r, chunk int) (begin, end int) {
	x, first := h.x, h.place.First[r]
	begin, end = h.cut.experts(h.receiver(r), (x.rank()-r+x.size())%x.size(), chunk)
	return first + begin, first + end
}

// arrivingRows is the run of the rows that arrive in a chunk.
func (h *Handle) arrivingRows(chunk int) (first, n int) {
	me := h.receiver(h.x.rank())
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

// leavingTo is the number of this rank's rows that go to rank r in a chunk.
func (h *Handle) leavingTo(r, chunk int) (n int) {
	begin, end := h.leaving(r, chunk)
	for _, s := range h.out[begin:end] {
		n += s.Rows
	}
	return n
}
