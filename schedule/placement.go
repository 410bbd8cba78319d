package schedule

import (
	"cmp"
	"fmt"
	"slices"
)

// Host is a rank that experts can be put on.
type Host struct {
	// PerRow is the number of seconds that a row takes there, to compute and to carry: the larger
	// of the two if they overlap, else the sum.
	PerRow float64
	// Slots is how many experts it has room for; 0 means any number.
	Slots int
}

// PlaceExperts returns the host of each expert, such that the busiest host ends early. load is the
// number of rows of each expert. Hosts may be unequal. The largest experts are placed first, each
// where it ends earliest; then experts are moved and swapped while that shortens the time of the
// busiest host. It panics if there are not enough slots.
func PlaceExperts(load []float64, hosts []Host) []int {
	s := spread{load: load, hosts: hosts, on: make([]int, len(load)), rows: make([]float64, len(hosts)), count: make([]int, len(hosts))}
	order := make([]int, len(load))
	for e := range order {
		order[e] = e
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(load[b], load[a]) })
	for _, e := range order {
		s.put(e, s.earliest(e))
	}
	for len(load) > 0 && s.better() {
	}
	return s.on
}

// Busiest returns the time of the host that ends last, in seconds.
func Busiest(load []float64, hosts []Host, on []int) float64 {
	rows := make([]float64, len(hosts))
	for e, h := range on {
		rows[h] += load[e]
	}
	worst := 0.0
	for h, n := range rows {
		worst = max(worst, n*hosts[h].PerRow)
	}
	return worst
}

// spread is a placement of experts under way.
type spread struct {
	load  []float64
	hosts []Host
	on    []int
	rows  []float64 // by host
	count []int     // experts by host
}

func (s *spread) put(e, h int) {
	s.on[e] = h
	s.rows[h] += s.load[e]
	s.count[h]++
}

func (s *spread) move(e, to int) {
	from := s.on[e]
	s.rows[from] -= s.load[e]
	s.count[from]--
	s.put(e, to)
}

func (s *spread) room(h int) bool { return s.hosts[h].Slots == 0 || s.count[h] < s.hosts[h].Slots }

func (s *spread) time(h int) float64 { return s.rows[h] * s.hosts[h].PerRow }

// earliest returns the host with room on which e would end first.
func (s *spread) earliest(e int) int {
	best := -1
	var least float64
	for h := range s.hosts {
		if t := (s.rows[h] + s.load[e]) * s.hosts[h].PerRow; s.room(h) && (best < 0 || t < least) {
			best, least = h, t
		}
	}
	if best < 0 {
		panic(fmt.Sprintf("schedule: %d experts do not fit into the slots of %d hosts", len(s.load), len(s.hosts)))
	}
	return best
}

// better moves an expert off the busiest host, or swaps it for a smaller one, such that both hosts
// end earlier than the busiest did, and reports whether it found one.
func (s *spread) better() bool {
	worst := 0
	for h := range s.hosts {
		if s.time(h) > s.time(worst) {
			worst = h
		}
	}
	limit := s.time(worst) * (1 - 1e-12)
	for e, h := range s.on {
		if h != worst || s.load[e] <= 0 {
			continue
		}
		for to := range s.hosts {
			if to != worst && s.room(to) && (s.rows[to]+s.load[e])*s.hosts[to].PerRow < limit {
				s.move(e, to)
				return true
			}
		}
		for f, to := range s.on {
			less := s.load[e] - s.load[f]
			if to != worst && less > 0 && (s.rows[to]+less)*s.hosts[to].PerRow < limit {
				s.move(e, to)
				s.move(f, worst)
				return true
			}
		}
	}
	return false
}
