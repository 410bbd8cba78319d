package alltoall

import (
	"context"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/rows"
)

// begin tells the other ranks how many rows will come, and lays out what comes here. The rows move by parts of their experts: see
// [Handle.Parts].
func (x *Exchange) begin(ctx context.Context, c Counts, src source, parts int, byPeers bool) (*Handle, error) {
	var k crossings
	if x.predicts() {
		k = src.crossings(x, c)
	}
	h := x.newHandle()
	h.prepare(src, x.last)
	from, err := x.exchangeCounts(ctx, c, k)
	if err != nil {
		h.preparing.Wait()
		h.Release()
		return nil, err
	}
	h.parts, h.byPeers = parts, byPeers
	if byPeers {
		parts = 1 // messages are as long as in one part
	}
	h.algorithm = x.chooseFor(from, parts)
	x.last = h.algorithm
	h.prepared(h.algorithm)
	c.Rows = append(h.counts.Rows[:0], c.Rows...) // the caller's may change before the rounds that follow
	h.counts = c
	p := &h.plan
	p.Rank, p.Experts, p.Sent = x.rank(), x.place.Count(x.rank()), x.sentRows(p.Sent[:0], c)
	p.Tokens, p.Padding, p.Leaves, p.Ends = p.Tokens[:0], p.Padding[:0], p.Leaves[:0], p.Ends[:0]
	for _, a := range from {
		p.Tokens, p.Padding, p.Leaves = append(p.Tokens, a.tokens), append(p.Padding, a.padding), append(p.Leaves, a.leaves)
	}
	h.in = h.lend(x.pool.matrix(p.layOut(from, byPeers), x.dim))
	return h, nil
}

// dispatchPart sends every other rank one message with the rows for a part of its experts, by the algorithm that suits their size.
//
// A row has 4·dim bytes, and travels unless its expert is here; and there are 4 for each of those experts and the sender's leaves.
func (h *Handle) dispatchPart(ctx context.Context, part int) error {
	x, p := h.x, &h.plan
	h.begin()
	defer x.round.end()
	x.round.rowsOnce, x.round.width = true, x.wire.Dispatch.Bytes(x.dim)
	splits := x.emptySplits(x.size())
	for i := range x.size() {
		r := x.next(i)
		begin, end := h.expertsOf(r, part)
		first, n := h.sentBefore(r, begin), sum(h.counts.ofExperts(begin, end))
		switch list := x.encodeSplits(h.counts.ofExperts(begin, end)); {
		case r == x.rank() && h.takesFrom(r, part):
			splits[r] = list
		case n > 0:
			begun := len(x.round.bufs)
			x.round.bufs = append(x.round.bufs, list)
			h.listSource(first, n)
			x.send(r, x.round.list(begun))
		}
		if r != x.rank() && h.arriving(part, r) > 0 {
			mine, to := h.partOf(part)
			splits[r] = x.round.takeBytes(4 * (to - mine) * p.Leaves[r])
			begun := len(x.round.bufs)
			x.round.bufs = append(x.round.bufs, splits[r])
			x.expectSegments(x.wire.Dispatch, h.in, h.segmentsIn(part), r)
			x.recv(r, x.round.list(begun))
		}
	}
	begin, end := h.expertsOf(x.rank(), part)
	begun := len(x.round.bufs)
	h.listSource(h.sentBefore(x.rank(), begin), sum(h.counts.ofExperts(begin, end)))
	h.keepOwn(x.wire.Dispatch, h.in, part, x.round.list(begun))
	if err := x.run(ctx, "dispatch"); err != nil {
		return err
	}
	return h.readEnds(part, splits)
}

// readEnds appends to the plan where the rows of a part's experts end, leaf by leaf.
func (h *Handle) readEnds(part int, splits [][]byte) error {
	x, p := h.x, &h.plan
	if h.byPeers {
		return h.readEndsOfPeers(part, splits)
	}
	begin, end := h.partOf(part)
	x.counts = x.counts[:0]
	for s := range splits {
		a := announcement{tokens: p.Tokens[s], padding: p.Padding[s], leaves: p.Leaves[s], rows: x.round.takeInts(end - begin)}
		for e := range a.rows {
			a.rows[e] = p.Segment(begin+e, s).Rows
		}
		c, err := x.decodeSplits(s, a, splits[s])
		if err != nil {
			return err
		}
		x.counts = append(x.counts, c)
	}
	row := 0
	if begin < end {
		row = p.Segment(begin, 0).First
	}
	for e := range end - begin {
		for _, c := range x.counts {
			for _, n := range c.ofExperts(e, e+1) {
				row += n
				p.Ends = append(p.Ends, row)
			}
		}
	}
	return nil
}

// readEndsOfPeers is readEnds where a part is the rows of some ranks.
func (h *Handle) readEndsOfPeers(part int, splits [][]byte) error {
	x, p := h.x, &h.plan
	for _, s := range h.Peers(part) {
		a := announcement{tokens: p.Tokens[s], padding: p.Padding[s], leaves: p.Leaves[s], rows: x.round.takeInts(p.Experts)}
		for e := range a.rows {
			a.rows[e] = p.Segment(e, s).Rows
		}
		c, err := x.decodeSplits(s, a, splits[s])
		if err != nil {
			return err
		}
		for e := range p.Experts {
			row := p.Segment(e, s).First
			for _, n := range c.ofExperts(e, e+1) {
				row += n
				p.Ends = append(p.Ends, row)
			}
		}
	}
	return nil
}

// chooseFor returns the algorithm for what has been announced, the same on every rank: by a message's length, and by how much is saved
// where rows cross to a node once. Where all messages are alike the length is theirs; otherwise it is that of messages, all alike, which
// would load the links as much as the busiest is. Each of the parts is as long as the others here.
func (x *Exchange) chooseFor(from []announcement, parts int) Algorithm {
	leaving, crossing, once, apart := 0, 0, 0, 0
	for _, a := range from {
		leaving, crossing, once, apart = leaving+a.leaving, crossing+a.crossings.rows, once+a.once, apart+a.apart
	}
	share := Share{1, 1}
	if crossing > 0 {
		share.Nodes = float64(once) / float64(crossing)
	}
	if leaving > 0 {
		share.Ranks = float64(apart) / float64(leaving)
	}
	mean := float64(leaving) / float64(max(len(from)*(len(from)-1), 1))
	return x.choose(int(float64(x.wire.Dispatch.Bytes(x.dim))*max(mean, x.busiest(from)))/parts, share)
}

// busiest is the mean number of rows from rank to rank that would load every node's link as much as the busiest is.
func (x *Exchange) busiest(from []announcement) float64 {
	most := 0.0
	for n, members := range x.nodes.members[:x.nodeWords()] {
		out, in := 0, 0
		for r, a := range from {
			for to, rows := range a.toNode {
				switch {
				case to == n && x.nodes.node[r] != n:
					in += rows
				case to != n && x.nodes.node[r] == n:
					out += rows
				}
			}
		}
		if pairs := len(members) * (len(from) - len(members)); pairs > 0 {
			most = max(most, float64(max(in, out))/float64(pairs))
		}
	}
	return most
}

// sentRows appends the number of rows that go to each rank.
func (x *Exchange) sentRows(list []int, c Counts) []int {
	for r := range x.size() {
		list = append(list, sum(c.ofExperts(x.place.Of(r))))
	}
	return list
}

// layOut gives each sender's rows for each expert here their place: by expert, then by sender, or by sender from this rank on, then by expert.
// It returns how many there are.
func (p *Plan) layOut(from []announcement, byPeers bool) int {
	p.Segments = p.Segments[:0]
	row := 0
	if byPeers {
		p.Segments = append(p.Segments, make([]Segment, len(from[0].rows)*len(from))...)
		for o := range from {
			s := (p.Rank + o) % len(from)
			for e, n := range from[s].rows {
				p.Segments[e*len(from)+s] = Segment{First: row, Rows: n}
				row += n
			}
		}
		return row
	}
	for e := range from[0].rows {
		for _, a := range from {
			p.Segments = append(p.Segments, Segment{First: row, Rows: a.rows[e]})
			row += a.rows[e]
		}
	}
	return row
}

// keepOwn copies those of a part's rows that stay here, which are in own, to their segments.
func (h *Handle) keepOwn(f Format, in blas32.General, part int, own [][]byte) {
	x, begun := h.x, len(h.x.round.bufs)
	if !h.takesFrom(x.rank(), part) {
		return
	}
	x.expectSegments(f, in, h.segmentsIn(part), x.rank())
	rows.CopyAll(x.round.list(begun), own)
}

// emptySplits returns room for what each rank says of its leaves.
func (x *Exchange) emptySplits(ranks int) [][]byte {
	begun := len(x.round.bufs)
	for range ranks {
		x.round.bufs = append(x.round.bufs, nil)
	}
	return x.round.list(begun)
}
