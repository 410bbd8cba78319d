// Package estimate tells the memory of a layer and of its passes, and the bytes that it sends,
// before the layer is made. Only the router's parameters and those of one expert are allocated for
// it.
package estimate

import (
	"cmp"
	"fmt"
	"math/bits"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule/memory"
)

// Config describes the layer, which is valid, and the batch of each of its ranks.
type Config struct {
	Ranks, Tokens  int
	Dim, Experts   int
	Router         router.Router
	Expert, Shared expert.Expert
	Placement      alltoall.Placement // in one copy of the experts
	Group, MaxRows int
	Seed           uint64
	Wire           alltoall.Wire
	Balance        balance.Config
	Sums           alltoall.Codec
}

// Layer estimates a layer. An error says that even a balanced pass has more rows than MaxRows, or
// names an expert that does not say what it keeps: see [expert.Sizer].
func Layer(cfg Config) (e memory.Estimate, err error) {
	s, err := sizesOf(cfg)
	if err != nil {
		return e, err
	}
	maxRows := int64(cmp.Or(cfg.MaxRows, alltoall.DefaultMaxRows))
	if err := s.check(maxRows); err != nil {
		return e, err
	}
	replicated, own := s.gate+s.shared.parameters, s.hosted*s.expert.parameters
	e.Parameters = 4 * (replicated + own)
	e.Moment = e.Parameters
	leaves := int64(1 + max(1, bits.Len64(uint64(max(int64(cfg.Ranks)*s.groups, 1)-1))))
	e.Gradients = 4 * (2*replicated + leaves*own)
	if gradients.Rounds(cfg.Sums) { // of what ranks share: their own part, and what is lost
		if cfg.Ranks > 1 {
			e.Gradients += 4 * 2 * replicated
		}
		if int64(cfg.Ranks) > s.parallel {
			e.Gradients += 4 * 2 * own
		}
	}
	e.Balanced = s.pass(cfg.Wire, s.balanced())
	e.Worst = s.pass(cfg.Wire, s.worst(maxRows))
	if cfg.Balance.When != balance.Never { // a slot's parameters, and its gradient
		bytes := 4 * s.expert.parameters
		slots := int64(cfg.Balance.Limits(0, bytes).Slots)
		e.Worst.Forward += slots * bytes
		e.Worst.Backward += 2 * slots * bytes
	}
	return e, nil
}

// check returns an error if a rank does not take the rows of a balanced pass. So no other number of
// an estimate is out of range.
func (s *sizes) check(maxRows int64) error {
	if rows := s.received(); rows > float64(maxRows) {
		return fmt.Errorf("Config.Estimate: %d tokens of each of %d ranks are %.0f rows for the experts of one, MaxRows is %d",
			s.tokens, s.parallel, rows, maxRows)
	}
	return nil
}

// received is the number of rows for the experts of this rank in a balanced pass.
func (s *sizes) received() float64 {
	parallel, rows := float64(s.parallel), float64(s.rows)
	return min(parallel*rows*float64(s.hosted)/float64(s.experts), parallel*float64(s.most))
}

// load is numbers of rows of a rank.
type load struct{ sent, received, leaving, arriving int64 }

// balanced has each expert get as many rows as any other, which drops those above its capacity.
func (s *sizes) balanced() load {
	l, own := load{sent: s.rows, received: int64(s.received())}, s.rows*s.hosted/s.experts
	l.leaving, l.arriving = s.rows-own, l.received-min(own, s.most)
	return l
}

// worst has the experts of this rank get all that they may, of other ranks first, while its own
// tokens go elsewhere if they can.
func (s *sizes) worst(maxRows int64) load {
	l := load{sent: s.rows, received: min(s.parallel*s.most, maxRows)}
	if s.parallel > 1 {
		l.leaving, l.arriving = s.rows, min(l.received, (s.parallel-1)*s.most)
	}
	return l
}

// pass is what a pass with a load takes. Buffers of rows in messages have an eighth of room to
// grow, those of experts a quarter.
func (s *sizes) pass(w alltoall.Wire, l load) memory.Pass {
	const number = 4
	travelled := number * s.dim * (l.received + l.sent) * 9 / 8
	forward := l.received*(s.dim+s.expert.forward) + s.sharedRows*(s.dim+s.shared.forward)
	backward := l.received*(s.dim+s.expert.backward) + s.sharedRows*(s.dim+s.shared.backward)
	legs := w.Legs()
	width := func(i int) int64 { return int64(legs[i].Bytes(int(s.dim))) }
	return memory.Pass{
		Sent: l.sent, Received: l.received,
		Forward:  number*s.tokens*s.dim + travelled + number*forward*5/4 + 2*number*l.sent,
		Backward: number*s.tokens*s.dim + number*l.sent*s.dim + travelled + number*backward*5/4,
		RowBytes: l.leaving*(width(0)+width(2)) + l.arriving*(width(1)+width(3)),
	}
}
