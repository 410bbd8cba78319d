package compression

import (
	"cmp"
	"slices"
	"time"
)

// note is what is to be learned from a pass that has gone back.
type note struct {
	number     uint64
	depths     []float64 // of the control loop, nil if there is none
	spent      time.Duration
	rate       float64 // centroids per row
	rows       int     // that were clustered
	compressed bool
	probed     bool
	took       time.Duration // of the probe
	errors     squares       // of sampled rows
}

// Open notes that a pass is in flight, and Close that it is no more. Each pass is in flight once.
func (s *Stage) Open() {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flight++
	}
}

// Close is the opposite of Open.
func (s *Stage) Close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.flight--
	learns := s.flight == 0 && len(s.notes) > 0
	s.mu.Unlock()
	if learns {
		s.learn()
	}
}

// EndPass ends the backward pass of a number, compressed or not. If it is the only one in flight
// what is learned from it counts from now on, and may be found out by a probe.
func (s *Stage) EndPass(number uint64, p *Pass, rows Rows) {
	if s == nil {
		return
	}
	n := note{number: number, rate: s.rate(rows.Step)}
	if p != nil {
		s.describe(&n, p)
	}
	s.mu.Lock()
	alone := s.flight <= 1
	n.probed = alone && p == nil && s.policy != nil && s.policy.shouldProbe()
	s.mu.Unlock()
	if n.probed {
		s.probe(&n, rows)
	}
	s.mu.Lock()
	s.notes = append(s.notes, n)
	s.mu.Unlock()
	if alone {
		s.learn()
	}
}

// describe takes what a compressed pass tells.
func (s *Stage) describe(n *note, p *Pass) {
	n.compressed, n.spent, n.depths, n.errors = true, p.Spent, p.depths, p.errors
	if wanted := s.wanted(); wanted != nil {
		var centroids int
		if n.rows, centroids = p.lsh.Clusters().Count(wanted); n.rows > 0 {
			n.rate = float64(centroids) / float64(n.rows)
		}
	}
}

// probe finds the centroids of rows that have travelled, to learn what compression would take.
func (s *Stage) probe(n *note, rows Rows) {
	p := s.begin()
	defer p.Release()
	x, ends := s.ordered(p, &rows)
	s.compute(p, func() {
		before := s.lsh.Depths()
		s.compress(p, x, ends, rows.Step, nil)
		if before != nil {
			s.setDepths(before)
		}
	})
	n.rows, n.took = x.Rows, p.Spent
}

// learn takes what the passes that have ended tell, in the order of their numbers. Then the policy,
// if there is one, decides what to compress from now on.
func (s *Stage) learn() {
	s.cfg.Turn.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		slices.SortFunc(s.notes, func(a, b note) int { return cmp.Compare(a.number, b.number) })
		for _, n := range s.notes {
			if s.spent = n.spent; n.depths != nil {
				s.setDepths(n.depths)
			}
			if s.watch != nil {
				s.watch.seen.add(n.errors)
			}
			if s.policy != nil {
				s.policy.record(&n, s.cfg.RowBytes)
			}
		}
		s.notes = s.notes[:0]
	})
}

// record takes what a pass tells into the policy, and has it decide.
func (p *policy) record(n *note, rowBytes int) {
	switch {
	case n.compressed:
		p.recordPass(n.rows, n.spent)
	case n.probed:
		p.recordProbe(n.rows, n.took)
	}
	p.update(rowBytes, n.rate)
}

// lastLearned is the time that compression took in the last pass, and the error of answers.
func (s *Stage) lastLearned() (spent time.Duration, answers float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch != nil {
		answers = s.watch.error
	}
	return s.spent, answers
}
