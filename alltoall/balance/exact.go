package balance

import (
	"github.com/switchyard-moe/switchyard/alltoall"
)

// Exact is the planner of MoonEP (Moonshot AI): every rank is to compute the same number of rows,
// to within the leaves. In each of at most R−1 rounds the home with the most rows above the mean
// gives the rank with the fewest all that it lacks, so that a helper's rows come from one home. It
// counts rows, not time, and does not ask what a copy costs.
type Exact struct {
	draft  draft
	above  []int64 // rows of each rank above its share
	quotas []quota
	left   []int64 // rows of each expert that have not been given away
}

// quota is the rows that one rank gives another.
type quota struct {
	donor, receiver int
	rows            int64
}

var _ Planner = (*Exact)(nil)

// String is "exact".
func (*Exact) String() string { return "exact" }

// Plan is described at [Planner].
func (x *Exact) Plan(p *Problem) alltoall.Allocation {
	d := &x.draft
	if !d.begin(p) {
		return nil
	}
	x.pair()
	x.left = append(x.left[:0], d.total...)
	for r := range d.Rows {
		x.serve(r)
	}
	d.divide(byRank)
	return d.result()
}

// pair decides which rank gives which how many rows. Of equal ranks the lowest comes first.
func (x *Exact) pair() {
	ranks, all := int64(len(x.draft.Rows)), x.draft.allRows()
	x.above, x.quotas = x.above[:0], x.quotas[:0]
	for r, rows := range x.draft.Rows {
		share := all / ranks
		if int64(r) < all%ranks {
			share++
		}
		x.above = append(x.above, rows-share)
	}
	for {
		donor, receiver := 0, 0
		for r, n := range x.above {
			if n > x.above[donor] {
				donor = r
			}
			if n < x.above[receiver] {
				receiver = r
			}
		}
		if x.above[donor] <= 0 {
			return
		}
		x.quotas = append(x.quotas, quota{donor, receiver, -x.above[receiver]})
		x.above[donor] += x.above[receiver]
		x.above[receiver] = 0
	}
}

// serve meets the quotas of a donor: the largest from the expert that has the most rows left, until
// all are met or the receivers have no slot left.
func (x *Exact) serve(donor int) {
	for {
		q := x.largest(donor)
		if q == nil {
			return
		}
		e := x.fullest(donor)
		rows := min(q.rows, x.left[e])
		if rows == 0 || !x.draft.takes(q.receiver, e) {
			q.rows = 0
			continue
		}
		x.draft.give(e, q.receiver, rows)
		x.left[e] -= rows
		q.rows -= rows
	}
}

// largest is the largest quota of a donor that is left, or nil.
func (x *Exact) largest(donor int) (best *quota) {
	for i := range x.quotas {
		if q := &x.quotas[i]; q.donor == donor && q.rows > 0 && (best == nil || q.rows > best.rows || q.rows == best.rows && q.receiver < best.receiver) {
			best = q
		}
	}
	return best
}

// fullest is the expert of a rank that has the most rows left.
func (x *Exact) fullest(rank int) int {
	begin, end := x.draft.problem.Loads.Placement.Of(rank)
	best := begin
	for e := begin; e < end; e++ {
		if x.left[e] > x.left[best] {
			best = e
		}
	}
	return best
}
