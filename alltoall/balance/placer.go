package balance

import (
	"math"
	"slices"
)

// placer moves experts one after the other.
type placer struct {
	*Placing
	on    []int
	rows  []int64 // of each rank
	count []int   // experts of each rank
}

func newPlacer(p *Placing) *placer {
	s := &placer{Placing: p, on: slices.Clone(p.On), rows: make([]int64, len(p.Row)), count: make([]int, len(p.Row))}
	for e, r := range s.on {
		s.rows[r] += p.Rows[e]
		s.count[r]++
	}
	return s
}

// time is that of a rank with this number of rows.
func (s *placer) time(rank int, rows int64) int64 { return times(s.Row[rank], rows) }

// busiest is the rank that ends last, the first of equal ones.
func (s *placer) busiest() (rank int) {
	for r := range s.rows {
		if s.time(r, s.rows[r]) > s.time(rank, s.rows[rank]) {
			rank = r
		}
	}
	return rank
}

// finish is when the last rank ends.
func (s *placer) finish() int64 {
	r := s.busiest()
	return s.time(r, s.rows[r])
}

// change is one expert that goes to another rank, and one that comes for it, or none (−1).
type change struct {
	expert, to, back int
	end              int64 // of the later of the two ranks
}

// better makes the change that relieves the busiest rank most, and reports whether there is one.
func (s *placer) better() bool {
	from := s.busiest()
	best := change{end: s.time(from, s.rows[from])}
	found := false
	consider := func(c change) {
		rows := s.Rows[c.expert]
		if c.back >= 0 {
			rows -= s.Rows[c.back]
		}
		if rows <= 0 {
			return
		}
		c.end = max(s.time(from, s.rows[from]-rows), s.time(c.to, s.rows[c.to]+rows))
		if c.end < best.end {
			best, found = c, true
		}
	}
	for e, r := range s.on {
		if r == from {
			s.each(e, consider)
		}
	}
	if found {
		s.do(best)
	}
	return found
}

// each lists what can be done with an expert: moves by rank, then swaps by expert.
func (s *placer) each(e int, consider func(change)) {
	for r := range s.rows {
		if r != s.on[e] && (s.Room == 0 || s.count[r] < s.Room) {
			consider(change{expert: e, to: r, back: -1})
		}
	}
	for other, r := range s.on {
		if r != s.on[e] {
			consider(change{expert: e, to: r, back: other})
		}
	}
}

func (s *placer) do(c change) {
	from := s.on[c.expert]
	s.put(c.expert, c.to)
	if c.back >= 0 {
		s.put(c.back, from)
	}
}

// put puts an expert on a rank.
func (s *placer) put(e, rank int) {
	was := s.on[e]
	s.rows[was] -= s.Rows[e]
	s.count[was]--
	s.rows[rank] += s.Rows[e]
	s.count[rank]++
	s.on[e] = rank
}

// variation is the standard deviation of the ranks' times over their mean.
func (s *placer) variation() float64 {
	sum, squares, n := 0.0, 0.0, float64(len(s.rows))
	for r, rows := range s.rows {
		sum += float64(s.time(r, rows))
	}
	if sum == 0 {
		return 0
	}
	for r, rows := range s.rows {
		d := float64(float64(s.time(r, rows))*n/sum) - 1
		squares += float64(d * d)
	}
	return math.Sqrt(squares / n)
}
