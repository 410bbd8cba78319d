package alltoall

import (
	"context"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Request is the rows that a rank dispatches.
type Request struct {
	// Counts says how many rows each expert gets. It is the caller's again when Begin returns.
	Counts Counts
	// Rows has the rows, sorted by expert, as wide as [Config.Dim], or those that Token lists. They
	// must stay as they are until the last chunk has been dispatched.
	Rows blas32.General
	// Token, if not nil, lists the rows that leave, sorted by expert: the i-th is row Token[i] of
	// Rows. If ranks share memory each is copied once, straight to its expert's input. It must stay
	// as it is as long as Rows.
	Token []int32
	// Cut divides the exchange into chunks, the same on all ranks; nil is one chunk.
	Cut Cut
}

// Begin begins an exchange: it tells each rank how many rows it will get, in a message to each, and
// returns the handle that moves them. All ranks call it.
//
// A request that is not consistent is an error on this rank alone. ErrRefused is an error on every
// rank, which can go on with the next batch. After any other error the exchange cannot be used.
func (x *Exchange) Begin(ctx context.Context, r Request) (*Handle, error) {
	if r.Cut == nil {
		r.Cut = ByExperts(1)
	}
	src := source{m: r.Rows, token: r.Token}
	if err := x.checkRequest(&r, src); err != nil {
		return nil, err
	}
	if err := src.findInfinite(x); err != nil {
		return nil, x.refuse(ctx, err)
	}
	var k crossings
	if x.chooser.predicts() {
		k = src.crossings(x, r.Counts)
	}
	h := x.newHandle()
	h.prepare(src, x.chooser.last)
	from, err := x.exchangeCounts(ctx, r.Counts, k)
	if err != nil {
		h.preparing.Wait()
		h.Release()
		return nil, err
	}
	h.cut = r.Cut
	h.algorithm = x.chooser.chooseFor(from, h.cut.messages())
	h.prepared(h.algorithm)
	h.plan.announce(x, r.Counts, from)
	r.Counts.Rows = append(h.counts.Rows[:0], r.Counts.Rows...)
	h.counts = r.Counts
	h.in = h.lend(x.pool.matrix(h.plan.layOut(h.cut, from), x.dim))
	return h, nil
}

// checkRequest returns an error that says what of r is not consistent, or nil. What reads the rows
// later may be another goroutine.
func (x *Exchange) checkRequest(r *Request, src source) error {
	c := r.Counts
	if c.Leaves < 0 || c.Leaves > mostRows || len(c.Rows) != times(x.placement.Experts(), c.Leaves) {
		return x.misuse("begin", "%d counts for %d experts × %d leaves", len(c.Rows), x.placement.Experts(), c.Leaves)
	}
	if c.Padding < 0 || c.Padding > c.Tokens || c.Tokens > mostRows {
		return x.misuse("begin", "%d tokens, %d of them padding, want at most %d tokens", c.Tokens, c.Padding, mostRows)
	}
	if i := slices.IndexFunc(c.Rows, func(n int) bool { return n < 0 }); i >= 0 {
		return x.misuse("begin", "count %d is %d rows", i, c.Rows[i])
	}
	if r.Cut.Chunks() < 1 {
		return x.misuse("begin", "Cut is %T(%d), want 1 chunk or more", r.Cut, r.Cut.Chunks())
	}
	return src.check(x, mat.Sum(c.Rows))
}

// check returns an error unless the source has the number of rows that were counted, as wide as
// those of the exchange, and all are there.
func (s source) check(x *Exchange, want int) error {
	if s.token == nil {
		return x.checkRows("begin", s.m, want)
	}
	if err := check.AnyMatrix(s.m); err != nil {
		return x.misuse("begin", "%w", err)
	}
	if len(s.token) != want || s.m.Rows > 0 && s.m.Cols != x.dim {
		return x.misuse("begin", "%d rows of %d columns in Token, want %d of %d", len(s.token), s.m.Cols, want, x.dim)
	}
	for i, t := range s.token {
		if t < 0 || int(t) >= s.m.Rows {
			return x.misuse("begin", "row %d is row %d of %d", i, t, s.m.Rows)
		}
	}
	return nil
}

// announce fills p with what the ranks have announced.
func (p *Plan) announce(x *Exchange, c Counts, from []announcement) {
	p.Rank, p.Experts, p.Sent = x.rank(), x.placement.Count(x.rank()), p.Sent[:0]
	for r := range x.size() {
		p.Sent = append(p.Sent, mat.Sum(c.ofExperts(x.placement.Of(r))))
	}
	p.Tokens, p.Padding, p.Leaves, p.Ends = p.Tokens[:0], p.Padding[:0], p.Leaves[:0], p.Ends[:0]
	for _, a := range from {
		p.Tokens, p.Padding, p.Leaves = append(p.Tokens, a.tokens), append(p.Padding, a.padding), append(p.Leaves, a.leaves)
	}
}

// layOut gives each segment its run of rows, in the order of the cut, and returns how many rows
// there are.
func (p *Plan) layOut(cut Cut, from []announcement) (rows int) {
	// Without groups, on which no order of segments depends.
	r := receiver{rank: p.Rank, ranks: len(from), hosted: p.Experts}
	n := r.ranks * r.hosted
	p.Segments = slices.Grow(p.Segments[:0], n)[:n]
	for i := range n {
		e, sender := cut.segment(r, i)
		segment := Segment{First: rows, Rows: from[sender].rows[e]}
		p.Segments[e*r.ranks+sender] = segment
		rows += segment.Rows
	}
	return rows
}
