package alltoall

import (
	"context"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/rows"
)

// dispatchRows sends every other rank one message, by the algorithm that suits their size.
//
// A row has 4·dim bytes, and travels unless its expert is here; and there are 4 for each of the receiver's experts and the sender's leaves.
func (x *Exchange) dispatchRows(ctx context.Context, c Counts, from []announcement, src source) (*Handle, blas32.General, error) {
	x.seq++
	me, h := x.rank(), x.newHandle()
	h.algorithm = x.choose(4 * x.dim * meanRows(from))
	x.now = h.algorithm
	p := &h.plan
	p.Sent = x.sentRows(p.Sent[:0], c)
	received := p.layOut(from)
	in := x.pool.matrix(received, x.dim)
	splits := x.emptySplits(len(from))
	splits[me] = x.encodeSplits(c, me)
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		if n := p.Sent[r]; n > 0 {
			begun := len(x.round.bufs)
			x.round.bufs = append(x.round.bufs, x.encodeSplits(c, r))
			src.list(x, sum(p.Sent[:r]), n)
			x.send(r, x.round.list(begun))
		}
		if a := from[r]; sum(a.rows) > 0 {
			splits[r] = x.round.takeBytes(4 * len(a.rows) * a.leaves)
			begun := len(x.round.bufs)
			x.round.bufs = append(x.round.bufs, splits[r])
			x.segmentsOf(in, p.Segments, r)
			x.recv(r, x.round.list(begun))
		}
	}
	x.keepOwn(in, p, src)
	if err := x.run(ctx, "dispatch"); err != nil {
		return nil, blas32.General{}, err
	}
	counts, err := x.decodeAllSplits(from, splits)
	if err != nil {
		return nil, blas32.General{}, err
	}
	p.fill(me, x.place, p.Sent, counts)
	return h, h.lend(in), nil
}

// meanRows is the mean number of rows from one rank for another, the same on every rank.
func meanRows(from []announcement) int {
	total := 0
	for _, a := range from {
		total += a.leaving
	}
	return total / max(len(from)*(len(from)-1), 1)
}

// sentRows appends the number of rows that go to each rank.
func (x *Exchange) sentRows(list []int, c Counts) []int {
	for r := range x.size() {
		list = append(list, sum(c.ofExperts(x.place.Of(r))))
	}
	return list
}

// layOut gives each sender's rows for each expert here their place: by expert, then by sender. It returns how many there are.
func (p *Plan) layOut(from []announcement) int {
	p.Segments = p.Segments[:0]
	row := 0
	for e := range from[0].rows {
		for _, a := range from {
			p.Segments = append(p.Segments, Segment{First: row, Rows: a.rows[e]})
			row += a.rows[e]
		}
	}
	return row
}

// keepOwn copies the rows of src that stay here to their segments.
func (x *Exchange) keepOwn(in blas32.General, p *Plan, src source) {
	me, begun := x.rank(), len(x.round.bufs)
	x.segmentsOf(in, p.Segments, me)
	to := x.round.list(begun)
	begun = len(x.round.bufs)
	src.list(x, sum(p.Sent[:me]), p.Sent[me])
	rows.CopyAll(to, x.round.list(begun))
}

// emptySplits returns room for what each rank says of its leaves.
func (x *Exchange) emptySplits(ranks int) [][]byte {
	begun := len(x.round.bufs)
	for range ranks {
		x.round.bufs = append(x.round.bufs, nil)
	}
	return x.round.list(begun)
}

func (x *Exchange) decodeAllSplits(from []announcement, splits [][]byte) ([]Counts, error) {
	x.counts = x.counts[:0]
	for s, a := range from {
		c, err := x.decodeSplits(s, a, splits[s])
		if err != nil {
			return nil, err
		}
		x.counts = append(x.counts, c)
	}
	return x.counts, nil
}
