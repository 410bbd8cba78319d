package balance

import (
	"cmp"
	"math/bits"
	"slices"
)

// search looks for the earliest deadline by which every rank can be done, with helpers that take
// pieces of the experts of ranks that would not be. While it decides it estimates times: a helper's
// rows are those of its own tokens first, which no link carries.
type search struct {
	draft draft
	costs Costs // what it plans by

	start []int64 // when each rank is done without sharing
	time  []int64 // when each rank is done with the pieces so far
	rows  []int64 // that each rank computes with the pieces so far
	room  []int64 // rows that each rank could still take by the deadline
	late  []int   // ranks that are not done by the deadline, the latest first
	best  []piece // those of the earliest deadline that was met
}

// exactness is to which part of a deadline the search finds it.
const exactness = 64

// find leaves the pieces of the earliest deadline that can be met in s.draft, and tells whether
// there are any. It tries first that by which all would be done if work could be shared out at
// will. Where links take long it may be met earlier, as rows that a helper has itself need not
// travel.
func (s *search) find() bool {
	s.best = s.best[:0]
	even, high := s.even(), slices.Max(s.start)
	if high-even <= high/exactness {
		return false
	}
	for low, try := even/2, even+even/exactness; high-low > max(high/exactness, 1); try = low + (high-low)/2 {
		if s.meets(try) {
			high = try
			s.best = append(s.best[:0], s.draft.pieces...)
		} else {
			low = try
		}
	}
	s.draft.pieces = append(s.draft.pieces[:0], s.best...)
	return len(s.best) > 0
}

// even is the time at which all ranks would be done if time could be moved between them: the mean
// of the times, weighted by the rows that a rank computes in a time.
func (s *search) even() int64 { return weighted(s.start, s.costs.Row, nil) }

// weighted is the mean of the times of the listed ranks, or of all with nil, each weighted by the
// inverse of what a row costs there.
func weighted(time, row []int64, ranks []piece) int64 {
	fastest := max(slices.Min(row), 1)
	var hi, lo, weights, carry uint64
	add := func(r int) {
		w := uint64(fastest<<16) / uint64(max(row[r], 1))
		h, l := bits.Mul64(uint64(time[r]), w)
		lo, carry = bits.Add64(lo, l, 0)
		hi, _ = bits.Add64(hi, h, carry)
		weights += w
	}
	if ranks == nil {
		for r := range time {
			add(r)
		}
	}
	for _, p := range ranks {
		add(int(p.rank))
	}
	if weights == 0 {
		return 0
	}
	mean, _ := bits.Div64(hi, lo, weights)
	return int64(mean)
}

// meets gives away what keeps ranks from being done by a deadline, and tells whether all can be.
func (s *search) meets(deadline int64) bool {
	if !s.survey(deadline) {
		return false
	}
	for _, r := range s.late {
		for _, e := range s.draft.expertsOf(r) {
			if s.relieve(r, int(e), deadline) {
				break
			}
		}
		if s.time[r] > deadline {
			return false
		}
	}
	return true
}

// survey begins without pieces: it finds the ranks that are late and the room of the others, and
// tells whether that is enough.
func (s *search) survey(deadline int64) bool {
	d := &s.draft
	d.restart()
	s.time, s.rows = append(s.time[:0], s.start...), append(s.rows[:0], d.Rows...)
	s.room, s.late = s.room[:0], s.late[:0]
	var excess, room int64
	for r, t := range s.start {
		row := max(s.costs.Row[r], 1)
		s.room = append(s.room, (deadline-t)/row)
		if t > deadline {
			s.late = append(s.late, r)
			excess = min(excess+(t-deadline)/(row+s.rowOnLink()), ceiling)
		} else {
			room = min(room+s.room[r], ceiling)
		}
	}
	slices.SortStableFunc(s.late, func(a, b int) int { return cmp.Compare(s.start[b], s.start[a]) })
	return excess <= room
}

// relieve gives pieces of an expert of a late rank to helpers until the rank is done by the
// deadline, and tells whether it is.
func (s *search) relieve(home, e int, deadline int64) bool {
	d := &s.draft
	left := d.total[e]
	for s.time[home] > deadline && left > 0 {
		to, rows := s.helper(home, e, left, deadline)
		if rows <= 0 {
			return false
		}
		d.give(e, to, rows)
		left -= rows
		move := s.moving(home, to)
		s.time[home] += move - times(s.gain(home, e), rows)
		s.time[to] += move + s.taking(e, to, rows)
		s.rows[home] -= rows
		s.rows[to] += rows
		s.room[to] = (deadline - s.time[to]) / max(s.costs.Row[to], 1)
	}
	return s.time[home] <= deadline
}

// helper chooses who takes how many of the rows that are left of an expert. Of those of the home's
// node and of all others it considers the rank with the most room, the lowest of equal ones, and
// takes that of the node unless the other can take more of what must be given away.
func (s *search) helper(home, e int, left, deadline int64) (to int, rows int64) {
	best, most := [2]int{-1, -1}, [2]int64{} // within the node, and of others
	for r, room := range s.room {
		if class := s.draft.class(home, r); room > most[class] && s.draft.takes(r, e) {
			best[class], most[class] = r, room
		}
	}
	for _, r := range best {
		if r < 0 {
			continue
		}
		if n := min(s.wanted(home, e, r, deadline), s.able(home, e, r, deadline), left); n > rows && s.pays(home, e, r, n) {
			to, rows = r, n
		}
	}
	return to, rows
}

// pays tells whether a home is done earlier if a helper takes rows of an expert.
func (s *search) pays(home, e, to int, rows int64) bool {
	return times(s.gain(home, e), rows) > s.moving(home, to)
}

// moving is the time that the parameters and the gradient of a helper take on the links of both, if
// its run is a whole subtree.
func (s *search) moving(home, to int) int64 {
	return times(s.linkCost(s.draft.class(home, to)), s.costs.Params+s.costs.Gradient)
}

func (s *search) linkCost(class int) int64 {
	if class == 1 {
		return s.costs.Between
	}
	return s.costs.Within
}

// rowOnLink is the time of a row of another rank's tokens on the link of who computes it.
func (s *search) rowOnLink() int64 {
	if len(s.draft.problem.Node) > 0 {
		return times(s.costs.RowBytes, s.costs.Between)
	}
	return times(s.costs.RowBytes, s.costs.Within)
}

// row is the time that a rank computes a row of an expert, with its part of what leaves cost.
func (s *search) row(rank, e int) int64 {
	d, row := &s.draft, s.costs.Row[rank]
	if s.costs.Leaf == 0 || d.total[e] == 0 {
		return row
	}
	return row + portion(times(row, s.costs.Leaf), d.filled[e], d.total[e])
}

// gain is the time that a home has less to do for each row of an expert that it gives away: its
// computing, and its share of the link if more rows arrive at the home than leave it.
func (s *search) gain(home, e int) int64 {
	d := &s.draft
	gain := s.row(home, e)
	in, out := d.flows[2*home].arrive+d.flows[2*home+1].arrive, d.flows[2*home].leave+d.flows[2*home+1].leave
	if in > out {
		gain += portion(s.rowOnLink(), d.total[e]-d.own(e, home), d.total[e])
	}
	return max(gain, 1)
}

// portion is v·part/of, where part is at most of.
func portion(v, part, of int64) int64 {
	hi, lo := bits.Mul64(uint64(v), uint64(part))
	p, _ := bits.Div64(hi, lo, uint64(of))
	return int64(p)
}

// own is how many rows of an expert are of a rank's own tokens.
func (d *draft) own(e, rank int) int64 {
	at := e * d.leaves()
	return sum(d.problem.Loads.Rows[at+d.first[rank] : at+d.first[rank+1]])
}

// wanted is how many rows a home must give away to be done by the deadline, if a helper takes them.
func (s *search) wanted(home, e, to int, deadline int64) int64 {
	return ceilDiv(s.time[home]+s.moving(home, to)-deadline, s.gain(home, e))
}

// able is how many rows of an expert a helper can take and be done by the deadline, and within the
// limit of rows though cuts are not exact.
func (s *search) able(home, e, to int, deadline int64) int64 {
	spare := deadline - s.time[to] - s.moving(home, to)
	own, row := s.draft.own(e, to), max(s.row(to, e), 1)
	n := spare / row
	if n > own {
		n = own + (spare-own*row)/(row+s.rowOnLink())
	}
	if limit := s.draft.problem.Limits.Rows; limit > 0 {
		n = min(n, int64(limit)-s.rows[to]-s.draft.largestLeaf(e))
	}
	return n
}

// taking is the time that a helper needs for rows of an expert, without its parameters.
func (s *search) taking(e, to int, rows int64) int64 {
	return times(s.row(to, e), rows) + times(s.rowOnLink(), max(rows-s.draft.own(e, to), 0))
}

// largestLeaf is the rows of the leaf of an expert that has the most.
func (d *draft) largestLeaf(e int) int64 {
	leaves := d.leaves()
	if leaves == 0 {
		return 0
	}
	return int64(slices.Max(d.problem.Loads.Rows[e*leaves : (e+1)*leaves]))
}
