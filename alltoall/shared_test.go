package alltoall_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

// plus is a codec that reads each number with this one added.
type plus float32

func (p plus) String() string  { return fmt.Sprintf("plus %v", float32(p)) }
func (p plus) Bytes(n int) int { return 4*n + 1 }

func (p plus) Append(dst []byte, row []float32) []byte {
	for _, v := range row {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
	}
	return append(dst, 7)
}

func (p plus) Decode(row []float32, src []byte) error {
	for i := range row {
		row[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])) + float32(p)
	}
	return nil
}

// legsPlus is a wire whose legs are plus k, 2k, 4k and 8k.
func legsPlus(k float32) alltoall.Wire {
	return alltoall.Wire{Dispatch: plus(k), Combine: plus(2 * k), DispatchBack: plus(4 * k), CombineBack: plus(8 * k)}
}

// sharing is a job whose experts are shared out.
type sharing struct {
	job
	a    alltoall.Allocation
	top  alltoall.Topology
	wire alltoall.Wire
}

// randomSharing shares out about half of the experts, each over up to all ranks.
func randomSharing(r *rand.Rand, ranks int) sharing {
	hosted := make([]int, ranks)
	for i := range hosted {
		hosted[i] = r.IntN(4)
	}
	s := sharing{job: job{place: alltoall.Hosted(hosted), groups: r.IntN(4)}}
	s.counts = randomCounts(r, ranks, s.place.Experts())
	s.a = randomAllocation(r, s.place, s.leaves())
	if r.IntN(2) == 0 {
		s.top = alltoall.Nodes(ranks, 2)
	}
	switch r.IntN(3) {
	case 0:
		s.wire = legsPlus(0.5)
	case 1:
		s.wire = legsPlus(0.5)
		within := legsPlus(0.125)
		within.Combine = nil
		s.wire.Within = &within
	}
	return s
}

func randomAllocation(r *rand.Rand, place alltoall.Placement, leaves int) (a alltoall.Allocation) {
	for e := range place.Experts() {
		if leaves == 0 || r.IntN(2) == 0 {
			continue
		}
		ranks := r.Perm(place.Ranks())
		for first, i := 0, 0; first < leaves; i++ {
			end := leaves
			if i+1 < len(ranks) {
				end = first + 1 + r.IntN(leaves-first)
			}
			a = append(a, alltoall.Run{Expert: e, Rank: ranks[i], First: first, End: end})
			first = end
		}
	}
	return a
}

func (s sharing) leaves() (n int) {
	for _, c := range s.counts {
		n += c.Leaves
	}
	return n
}

// computed are the experts and runs of a rank: those that it hosts have all leaves, or none.
func (s sharing) computed(rank int) (list []alltoall.Run) {
	begin, end := s.place.Of(rank)
	for e := begin; e < end; e++ {
		of := alltoall.Run{Expert: e, Rank: rank, End: s.leaves()}
		if slices.ContainsFunc(s.a, func(r alltoall.Run) bool { return r.Expert == e }) {
			of.End = 0
		}
		list = append(list, of)
	}
	for _, r := range s.a {
		if r.Rank == rank {
			list = append(list, r)
		}
	}
	return list
}

// added is what the legs up to the given one have added to a row of rank from that rank to has.
func (s sharing) added(from, to, leg int) (sum float32) {
	w := s.wire
	switch {
	case w.Within == nil:
	case from == to:
		return 0
	case s.top.NodeOf(from) == s.top.NodeOf(to):
		w = *w.Within
	}
	legs := w.Legs()
	for _, c := range legs[:leg+1] {
		if p, ok := c.(plus); ok {
			sum += float32(p)
		}
	}
	return sum
}

// arriving is the slow reference: what a rank gets in a chunk on a leg, and where each leaf's rows
// end.
func (s sharing) arriving(rank int, c alltoall.Chunk, leg int) (data []float32, ends []int) {
	list := s.computed(rank)
	add := func(of alltoall.Run, from int) {
		before := 0
		for _, c := range s.counts[:from] {
			before += c.Leaves
		}
		for l := range s.counts[from].Leaves {
			n := s.counts[from].Rows[of.Expert*s.counts[from].Leaves+l]
			if before+l < of.First || before+l >= of.End {
				n = 0
			}
			for i := range n {
				for _, v := range row(from, of.Expert, l, i) {
					data = append(data, v+s.added(from, rank, leg))
				}
			}
			ends = append(ends, len(data)/dim)
		}
	}
	for _, from := range c.Ranks {
		for _, of := range list {
			add(of, from)
		}
	}
	if c.Ranks == nil {
		for _, of := range list[c.FirstExpert:c.EndExpert] {
			for from := range s.counts {
				add(of, from)
			}
		}
	}
	return data, ends
}

// host is the rank that computes the row of rank from for expert e in its leaf l.
func (s sharing) host(from, e, l int) int {
	for _, c := range s.counts[:from] {
		l += c.Leaves
	}
	for _, r := range s.a {
		if r.Expert == e && r.First <= l && l < r.End {
			return r.Rank
		}
	}
	return s.place.Home(e)
}

// home is a rank's rows, sorted by expert, after a leg, and the ranks that compute them.
func (s sharing) home(rank, leg int) (data []float32, hosts []int) {
	c := s.counts[rank]
	for e := range s.place.Experts() {
		for l := range c.Leaves {
			for i := range c.Rows[e*c.Leaves+l] {
				host := s.host(rank, e, l)
				for _, v := range row(rank, e, l, i) {
					if leg >= 0 {
						v += s.added(rank, host, leg)
					}
					data = append(data, v)
				}
				hosts = append(hosts, host)
			}
		}
	}
	return data, hosts
}

// allocate checks the loads, and returns the allocation in memory that is overwritten later.
func (s sharing) allocate(l *alltoall.Loads) (alltoall.Allocation, error) {
	at := 0
	for e := range s.place.Experts() {
		for _, c := range s.counts {
			for _, n := range c.Rows[e*c.Leaves : (e+1)*c.Leaves] {
				if int(l.Rows[at]) != n {
					return nil, fmt.Errorf("count %d is %d, want %d", at, l.Rows[at], n)
				}
				at++
			}
		}
	}
	for r, c := range s.counts {
		if l.Leaves[r] != c.Leaves || l.RowTime[r] != int64(r)<<40 {
			return nil, fmt.Errorf("rank %d has %d leaves and a time of %d", r, l.Leaves[r], l.RowTime[r])
		}
	}
	if at != len(l.Rows) || l.TotalLeaves() != s.leaves() || !slices.Equal(l.Placement.First, s.place.First) {
		return nil, fmt.Errorf("%d counts in %d leaves, of %v", len(l.Rows), l.TotalLeaves(), l.Placement)
	}
	return slices.Clone(s.a), nil
}

// way is how a sharing travels.
type way struct {
	a          alltoall.Algorithm
	cut        alltoall.Cut
	again      int // chunks of the second trip
	far, token bool
	late       bool
}

// TestSharedRowsArriveAsMovedByHand holds trips of random exchanges whose experts are shared out at
// random against the slow reference, in every algorithm, cut and format.
func TestSharedRowsArriveAsMovedByHand(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	algorithms := alltoall.Algorithms()
	for _, ranks := range []int{1, 2, 3, 4, 8} {
		for i := range 4 * len(algorithms) {
			s, chunks := randomSharing(r, ranks), 1+r.IntN(4)
			w := way{a: algorithms[i%len(algorithms)], again: 1 + r.IntN(4), far: r.IntN(2) == 0, token: r.IntN(2) == 0}
			w.cut = []alltoall.Cut{alltoall.ByExperts(chunks), alltoall.ByRanks(chunks)}[r.IntN(2)]
			w.late = !w.token && r.IntN(2) == 0
			for rank, err := range ranktest.Errors(t, ranks, func(tr transport.Transport) error {
				if w.far {
					tr = afar{tr}
				}
				return closing(tr, s.check(tr, w))
			}) {
				require.NoError(t, err, "seed %d, %d ranks, number %d, rank %d, %+v of %T(%d), %+v", seed, ranks, i, rank, w, w.cut, chunks, s)
			}
		}
	}
}

// closing closes the transport of a rank that has failed, so that others do not wait for it.
func closing(tr transport.Transport, err error) error {
	if err != nil {
		_ = tr.Close()
	}
	return err
}

func (s sharing) config(a alltoall.Algorithm) alltoall.Config {
	return alltoall.Config{
		Placement: s.place, Dim: dim, Algorithm: a, Topology: s.top, Wire: s.wire, Groups: s.groups, Allocates: true,
	}
}

// request is that of a rank.
func (s sharing) request(rank int, w way) alltoall.Request {
	m := s.outgoing(rank)
	q := alltoall.Request{Counts: s.counts[rank], Rows: m, Cut: w.cut, Late: w.late, Allocate: s.allocate, RowTime: int64(rank) << 40}
	if w.token {
		q.Rows, q.Token = shuffled(rand.New(rand.NewPCG(1, uint64(rank))), m)
	}
	return q
}

func (s sharing) check(tr transport.Transport, w way) error {
	ctx, me := context.Background(), int(tr.Rank())
	x, err := alltoall.New(tr, s.config(w.a))
	if err != nil {
		return err
	}
	for number := range uint64(3) { // after the first in recycled memory
		p := x.Pass(number)
		of := s
		if number == 1 {
			of.a = nil
		}
		h, err := p.Begin(ctx, of.request(me, w))
		if err != nil {
			return err
		}
		if err := of.checkPlan(h, me); err != nil {
			return err
		}
		home, err := of.trip(h, 0, func(chunk int) (blas32.General, []int, error) { return h.Dispatch(ctx, chunk) })
		if err != nil {
			return err
		}
		if err := h.Recut(w.again); err != nil {
			return err
		}
		if _, err = of.trip(h, 2, func(chunk int) (blas32.General, []int, error) {
			m, err := h.DispatchBack(ctx, chunk, home)
			return m, nil, err
		}); err != nil {
			return err
		}
		h.Release()
		p.End()
	}
	return nil
}

// TestAnExchangeLikeAnother: its rows go where those of their expert and leaf went in the other,
// and in the same chunk, however many there are.
func TestAnExchangeLikeAnother(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 30 {
		s, chunks := randomSharing(r, 4), 1+r.IntN(4)
		like := s
		like.counts = nil
		for _, c := range s.counts { // as many leaves, and other rows
			c.Rows = slices.Clone(c.Rows)
			for i := range c.Rows {
				c.Rows[i] = r.IntN(3)
			}
			like.counts = append(like.counts, c)
		}
		w := way{cut: alltoall.ByExperts(chunks)}
		for rank, err := range ranktest.Errors(t, 4, func(tr transport.Transport) error {
			ctx, me := context.Background(), int(tr.Rank())
			x, err := alltoall.New(tr, s.config(alltoall.Direct))
			if err != nil {
				return err
			}
			h, err := x.Begin(ctx, s.request(me, w))
			if err != nil {
				return err
			}
			q := like.request(me, w)
			q.Allocate, q.Like = nil, h
			again, err := x.Begin(ctx, q)
			if err != nil {
				return err
			}
			for i := range h.Chunks() {
				if a, b := h.Chunk(i), again.Chunk(i); a.FirstExpert != b.FirstExpert || a.EndExpert != b.EndExpert {
					return closing(tr, fmt.Errorf("chunk %d is %v and %v", i, a, b))
				}
			}
			h.Release()
			_, err = like.trip(again, 0, func(chunk int) (blas32.General, []int, error) { return again.Dispatch(ctx, chunk) })
			again.Release()
			return closing(tr, err)
		}) {
			require.NoError(t, err, "seed %d, rank %d, %+v", seed, rank, s)
		}
	}
}

// trip holds the rows that dispatch brings on a leg against the reference, and has them come home.
func (s sharing) trip(h *alltoall.Handle, leg int, dispatch func(chunk int) (blas32.General, []int, error)) (home blas32.General, err error) {
	me, experts, ranks, first := h.Plan().Rank, 0, 0, 0
	for chunk := range h.Chunks() {
		m, ends, err := dispatch(chunk)
		if err != nil {
			return home, err
		}
		c := h.Chunk(chunk)
		want, wantEnds := s.arriving(me, c, leg)
		if err := same(fmt.Sprintf("chunk %d", chunk), want, m.Data); err != nil {
			return home, err
		}
		if ends != nil && !slices.Equal(ends, wantEnds) {
			return home, fmt.Errorf("chunk %d: ends %v, want %v", chunk, ends, wantEnds)
		}
		if err := s.checkParts(h.Arriving(chunk), m, first, m.Rows); err != nil {
			return home, err
		}
		first, experts, ranks = first+m.Rows, experts+c.EndExpert-c.FirstExpert, ranks+len(c.Ranks)
		if home, err = h.Combine(context.Background(), chunk, divided(h, chunk, m)...); err != nil {
			return home, err
		}
	}
	if experts != h.Plan().Experts && ranks != h.Plan().Ranks() {
		return home, fmt.Errorf("chunks have %d experts, and rows of %d ranks", experts, ranks)
	}
	left := 0
	for chunk := range h.Chunks() {
		parts := h.Leaving(chunk)
		if err := s.checkParts(parts, home, 0, -1); err != nil {
			return home, err
		}
		for _, p := range parts {
			left += p.Rows
		}
	}
	if left != home.Rows {
		return home, fmt.Errorf("%d rows leave in parts, want %d", left, home.Rows)
	}
	want, _ := s.home(me, leg+1)
	return home, same("combined", want, home.Data)
}

// checkParts demands that each row is of the expert that its part says, and that they are all if
// their number is not -1. The first row of m has number first.
func (s sharing) checkParts(parts []alltoall.Part, m blas32.General, first, all int) error {
	rows := 0
	for _, p := range parts {
		row := 0
		for i, end := range p.Ends {
			for ; row < end; row++ {
				got := mat.Row(m, p.First-first+row)
				if e := int(math.Floor(float64(got[1]) / 1000)); e != p.Expert+i {
					return fmt.Errorf("row %d of part %+v is of expert %d", row, p, e)
				}
			}
		}
		if row != p.Rows {
			return fmt.Errorf("part %+v ends at %d", p, row)
		}
		rows += row
	}
	if all >= 0 && rows != all {
		return fmt.Errorf("parts %+v have %d rows, want %d", parts, rows, all)
	}
	return nil
}

// checkPlan holds what the plan says of senders and hosts against the reference.
func (s sharing) checkPlan(h *alltoall.Handle, me int) error {
	p := h.Plan()
	list := s.computed(me)
	hosts := s.place.Count(me)
	if p.Experts != len(list) || !slices.Equal(p.Runs, list[hosts:]) || !slices.Equal(h.Allocation(), s.a) {
		return fmt.Errorf("%d experts, runs %v, allocation %v, want %v of %v", p.Experts, p.Runs, h.Allocation(), list, s.a)
	}
	if h.Loads().TotalLeaves() != s.leaves() {
		return fmt.Errorf("loads %+v", h.Loads())
	}
	_, want := s.home(me, -1)
	sent := make([]int, p.Ranks())
	for i, host := range want {
		sent[host]++
		if got := p.Host(i); got != host {
			return fmt.Errorf("row %d goes to rank %d, want %d", i, got, host)
		}
	}
	if !slices.Equal(sent, p.Sent) {
		return fmt.Errorf("sent %v, want %v", p.Sent, sent)
	}
	return nil
}
