package compression

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// note is what is to be learned from a pass that has gone back.
type note struct {
	number     uint64
	depths     []float64 // of the control loop, nil if there is none
	spent      time.Duration
	rows       int
	compressed bool
	took       time.Duration // of all compression of the rows, 0 if it is not known
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
	n := note{number: number, rows: rows.number()}
	if p != nil {
		n.compressed, n.spent, n.took, n.depths, n.errors = true, p.Spent, p.Spent, p.depths, p.errors
	}
	s.mu.Lock()
	alone := s.flight <= 1
	probes := alone && p == nil && s.policy != nil && s.policy.probes
	s.mu.Unlock()
	if probes {
		s.probe(&n, rows)
	}
	s.mu.Lock()
	s.notes = append(s.notes, n)
	s.mu.Unlock()
	if alone {
		s.learn()
	}
}

// probe finds the centroids of rows that have travelled, to learn what compression would take.
func (s *Stage) probe(n *note, rows Rows) {
	p := s.begin()
	defer p.Release()
	x, ends := s.ordered(p, &rows)
	s.compute(p, func() {
		before := s.lsh.Depths()
		s.compress(p, x, ends, rows.Step)
		if before != nil {
			s.setDepths(before)
		}
	})
	n.took = time.Duration(float64(p.Spent) / finding)
}

// learn takes what the passes that have ended tell, in the order of their numbers.
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
				s.policy.record(&n)
			}
		}
		s.notes = s.notes[:0]
	})
}

// Decide has the policy, if there is one, decide how rows travel once the given number of steps has
// been taken, if it is time. All ranks of a copy call it while no pass is in flight. It reports
// whether it has, so that [Stage.Wire] may be another.
func (s *Stage) Decide(ctx context.Context, steps int) (decided bool, err error) {
	if s == nil || s.policy == nil {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if steps < s.policy.next && steps != s.cfg.From && steps != s.cfg.Until {
		return false, nil
	}
	return true, s.policy.decide(ctx, steps, s.inWindow(steps))
}

// Wire is what the policy has chosen, if there is one and w, the wire of the layer, has no codecs;
// else w.
func (s *Stage) Wire(w alltoall.Wire) alltoall.Wire {
	if s == nil || s.policy == nil || s.cfg.Auto.Given {
		return w
	}
	chosen := s.policy.chosen.wire()
	chosen.Finite = w.Finite
	return chosen
}

// Computing counts the nanoseconds in which experts compute in training, or is nil if nobody asks.
func (s *Stage) Computing() *atomic.Int64 {
	if s == nil || s.policy == nil {
		return nil
	}
	return &s.policy.computing
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
