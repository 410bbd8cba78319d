package alltoall

import (
	"context"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/transport"
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
	// Late says that rows may be written to until they are dispatched, each chunk's until its
	// Dispatch is called; they are encoded then. Token is nil with it.
	Late bool
	// Cut divides the exchange into chunks, the same on all ranks; nil is one chunk.
	Cut Cut
	// RowTime is the number of picoseconds that this rank takes to compute a row, or 0. Allocate
	// gets those of all ranks.
	RowTime int64
	// Allocate, if not nil, shares experts out in this exchange, if [Config.Allocates]. Begin calls
	// it once, on every rank with the same loads, which it must not change, and takes a copy of what
	// it returns. That is nil or empty if every expert is computed by its home. It must be the same
	// on every rank, so that Allocate is a function of the loads and of what ranks have in common;
	// ranks compare it.
	Allocate func(*Loads) (Allocation, error)
	// Like, if not nil, is a handle of another exchange between the same ranks, whose allocation and
	// chunks this one takes, in place of an Allocate: rows of an expert and leaf go where those of
	// Like's did, and in the same chunk if the cuts are alike. It is not needed after Begin.
	Like *Handle
}

// Begin begins an exchange: it tells each rank how many rows it will get, in a message to each, and
// returns the handle that moves them. All ranks call it.
//
// A request that is not consistent, or that its receivers would not take, is an error on this rank
// alone, before anything is sent. ErrRefused is an error on every rank, which can go on with the
// next batch: so is an error of Allocate, an allocation that is not valid, and one by which a rank
// would compute more than MaxRows. If ranks differ in that it is transport.ErrMismatch, which the
// first Dispatch returns where Begin has not. After any other error the exchange cannot be used.
func (x *Exchange) Begin(ctx context.Context, r Request) (*Handle, error) {
	if r.Cut == nil {
		r.Cut = ByExperts(1)
	}
	src := source{m: r.Rows, token: r.Token, late: r.Late}
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
	h.setSentEnds(r.Counts)
	h.prepare(src, x.chooser.last)
	from, err := x.exchangeCounts(ctx, &r, k, &h.loads)
	if err == nil {
		h.cut = r.Cut
		h.algorithm = x.chooser.chooseFor(from, h.cut.messages())
		err = h.assign(ctx, &r, from)
	}
	if err != nil {
		h.preparing.Wait()
		h.Release()
		return nil, err
	}
	h.prepared(h.algorithm)
	h.encodeRuns()
	h.announce(from)
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
	if err := x.checkLimits(c); err != nil {
		return err
	}
	if r.Late && r.Token != nil {
		return x.misuse("begin", "Late with a Token, want one of them")
	}
	if err := x.checkAllocate(r); err != nil {
		return err
	}
	if r.Cut.Chunks() < 1 {
		return x.misuse("begin", "Cut is %T(%d), want 1 chunk or more", r.Cut, r.Cut.Chunks())
	}
	return src.check(x, mat.Sum(c.Rows))
}

// checkAllocate returns an error if r has what the exchange has no room for in its messages.
func (x *Exchange) checkAllocate(r *Request) error {
	if (r.Allocate != nil || r.RowTime != 0) && !x.allocates || r.RowTime < 0 {
		return x.misuse("begin", "Allocate %t, RowTime %d and Allocates %t, want Allocates with either, and no time below 0",
			r.Allocate != nil, r.RowTime, x.allocates)
	}
	switch like := r.Like; {
	case like == nil:
	case r.Allocate != nil:
		return x.misuse("begin", "Allocate and Like, want one of them")
	case !like.live:
		return x.misuse("begin", "%w: Like after its Release", ErrOrder)
	case !slices.Equal(like.x.placement.First, x.placement.First):
		return x.misuse("begin", "Like has experts at %v, want %v", like.x.placement.First, x.placement.First)
	case like.x.allocates && !x.allocates:
		return x.misuse("begin", "Like has Allocates, want it here too")
	}
	return nil
}

// checkLimits refuses what a peer would refuse of this rank's message alone, before anything is
// sent ([Exchange.decodeCounts], [Exchange.decodeAll]).
func (x *Exchange) checkLimits(c Counts) error {
	switch {
	case c.Tokens == 0 && c.Leaves > 0:
		return x.misuse("begin", "%d leaves of 0 tokens, want 0", c.Leaves)
	case c.Leaves > c.Tokens || c.Tokens > 0 && c.Leaves == 0:
		return x.misuse("begin", "%d leaves of %d tokens, want 1 to %d", c.Leaves, c.Tokens, c.Tokens)
	}
	if counts := times(c.Leaves, x.placement.Experts()); x.allocates && counts > x.counted {
		return x.misuse("begin", "%w: %d groups of tokens × experts, MaxCounts is %d; larger groups are fewer",
			transport.ErrTooLarge, counts, x.counted)
	}
	for r := range x.size() {
		if err := x.checkRowsFor(r, c); err != nil {
			return err
		}
	}
	return nil
}

// checkRowsFor checks what rank r will get.
func (x *Exchange) checkRowsFor(r int, c Counts) error {
	begin, end := x.placement.Of(r)
	if counts := times(c.Leaves, end-begin); counts > x.counted {
		return x.misuse("begin", "%w: %d groups of tokens × experts of rank %d, MaxCounts is %d; larger groups are fewer",
			transport.ErrTooLarge, counts, r, x.counted)
	}
	total, most := int64(0), int64(x.mostRows(announcement{tokens: c.Tokens, padding: c.Padding, leaves: c.Leaves}))
	for e := begin; e < end; e++ {
		rows := int64(0)
		for _, n := range c.ofExperts(e, e+1) {
			if n < 0 || n > mostRows {
				return x.misuse("begin", "a count of expert %d is %d rows, want 0 to %d", e, n, mostRows)
			}
			rows += int64(n)
		}
		if rows > most {
			return x.misuse("begin", "%d rows for expert %d of %d tokens, %d of them padding, in %d leaves, want at most %d",
				rows, e, c.Tokens, c.Padding, c.Leaves, most)
		}
		total += rows
	}
	if total > int64(x.maxRows) && !x.allocates { // else others may compute some
		return x.misuse("begin", "%w: %d rows for rank %d, MaxRows is %d", transport.ErrTooLarge, total, r, x.maxRows)
	}
	return nil
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

// announce fills the plan with what the ranks have announced.
func (h *Handle) announce(from []announcement) {
	x, p := h.x, &h.plan
	me := x.rank()
	p.Rank, p.Experts, p.Sent = me, h.place.Count(me), p.Sent[:0]
	for r := range x.size() {
		p.Sent = append(p.Sent, h.sent(r))
	}
	p.Runs, p.Routes = h.runsOf(me, x.placement.Count(me)), h.routes(p.Routes[:0])
	p.Tokens, p.Padding, p.Leaves, p.Ends = p.Tokens[:0], p.Padding[:0], p.Leaves[:0], p.Ends[:0]
	for _, a := range from {
		p.Tokens, p.Padding, p.Leaves = append(p.Tokens, a.tokens), append(p.Padding, a.padding), append(p.Leaves, a.leaves)
	}
}

// layOut gives each segment its run of rows, in the order of the cut, and returns how many rows
// there are.
func (p *Plan) layOut(cut Cut, from []announcement) (rows int) {
	// Without groups, on which no order of segments depends.
	r := receiver{rank: p.Rank, ranks: len(from), computed: p.Experts}
	n := r.ranks * r.computed
	p.Segments = slices.Grow(p.Segments[:0], n)[:n]
	for i := range n {
		e, sender := cut.segment(r, i)
		segment := Segment{First: rows, Rows: from[sender].rows[e]}
		p.Segments[e*r.ranks+sender] = segment
		rows += segment.Rows
	}
	return rows
}
