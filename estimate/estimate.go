package estimate

import (
	"cmp"
	"fmt"
	"math/bits"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Estimate is of one rank, one that hosts as many experts as any. Memory is in bytes.
type Estimate struct {
	// Parameters is what those of the router, of the experts hosted here and of the shared expert
	// take.
	Parameters int64
	// Gradients is what sums of their gradients take once steps have been taken: two vectors, and
	// more for experts whose gradient has more than two leaves.
	Gradients int64
	// Moment is one number for each parameter: Adam keeps two of them, SGD with momentum one.
	Moment int64
	// Balanced is a pass in which each expert gets as many rows as any other, and Worst one in which
	// all tokens that may choose the experts of this rank do.
	Balanced, Worst Pass
}

// Pass is what one pass takes on the rank.
type Pass struct {
	// Sent is the number of rows that the rank sends to experts, its own included, and Received the
	// number that its experts get.
	Sent, Received int64
	// Forward is the memory that a pass keeps from its Forward to the end of its Backward.
	Forward int64
	// Backward is the memory that Backward takes besides.
	Backward int64
	// RowBytes is the bytes of rows that leave the rank in the four exchanges together. Counts,
	// divisions into leaves and sums of gradients come on top.
	RowBytes int64
}

// Training is the memory of the layer and of its passes when it trains with an optimizer that keeps
// this number of moments: with a load that is balanced.
func (e Estimate) Training(moments int) int64 {
	return e.Parameters + e.Gradients + int64(moments)*e.Moment + e.Balanced.Forward + e.Balanced.Backward
}

// String is three lines.
func (e Estimate) String() string {
	return fmt.Sprintf("parameters %.1f MB, gradients %.1f MB, a moment of the optimizer %.1f MB\n"+
		"balanced pass: %v\nworst pass: %v\n",
		megabytes(e.Parameters), megabytes(e.Gradients), megabytes(e.Moment), e.Balanced, e.Worst)
}

// String is one line.
func (p Pass) String() string {
	return fmt.Sprintf("%d rows sent, %d received; MB: %.1f kept, %.1f in Backward, %.1f leave",
		p.Sent, p.Received, megabytes(p.Forward), megabytes(p.Backward), megabytes(p.RowBytes))
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }

// Layer estimates a layer of a configuration on a world of this number of ranks, each of which
// brings this number of tokens. An error says what is wrong with the configuration, that even a
// balanced pass has more rows than its MaxRows, or names an expert that does not say what it keeps:
// see [Sizer]. The router routes 64 random tokens, which
// tells how many experts a token chooses.
func Layer(cfg switchyard.Config, ranks, tokens int) (e Estimate, err error) {
	if ranks < 1 || tokens < 0 || tokens > 1<<31-1 {
		return e, fmt.Errorf("estimate: %d ranks with %d tokens each, want 1 rank or more, and 0 to %d tokens",
			ranks, tokens, 1<<31-1)
	}
	if err := cfg.Validate(ranks); err != nil {
		return e, errtext.Errorf("estimate: %w", err)
	}
	s, err := sizesOf(cfg, ranks, tokens)
	if err != nil {
		return e, errtext.Errorf("estimate: %w", err)
	}
	maxRows := int64(cmp.Or(cfg.MaxRows, alltoall.DefaultMaxRows))
	if err := s.check(maxRows); err != nil {
		return e, err
	}
	replicated, own := s.gate+s.shared.parameters, s.hosted*s.expert.parameters
	e.Parameters = 4 * (replicated + own)
	e.Moment = e.Parameters
	leaves := int64(1 + max(1, bits.Len64(uint64(max(int64(ranks)*s.groups, 1)-1))))
	e.Gradients = 4 * (2*replicated + leaves*own)
	e.Balanced = s.pass(cfg.Wire, s.balanced())
	e.Worst = s.pass(cfg.Wire, s.worst(maxRows))
	return e, nil
}

// check returns an error if a rank does not take the rows of a balanced pass. So no other number of
// an estimate is out of range.
func (s *sizes) check(maxRows int64) error {
	if rows := s.received(); rows > float64(maxRows) {
		return fmt.Errorf("estimate: %d tokens of each of %d ranks are %.0f rows for the experts of one, MaxRows is %d",
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
func (s *sizes) pass(w alltoall.Wire, l load) Pass {
	const number = 4
	travelled := number * s.dim * (l.received + l.sent) * 9 / 8
	forward := l.received*(s.dim+s.expert.forward) + s.sharedRows*(s.dim+s.shared.forward)
	backward := l.received*(s.dim+s.expert.backward) + s.sharedRows*(s.dim+s.shared.backward)
	legs := w.Legs()
	width := func(i int) int64 { return int64(legs[i].Bytes(int(s.dim))) }
	return Pass{
		Sent: l.sent, Received: l.received,
		Forward:  number*s.tokens*s.dim + travelled + number*forward*5/4 + 2*number*l.sent,
		Backward: number*s.tokens*s.dim + number*l.sent*s.dim + travelled + number*backward*5/4,
		RowBytes: l.leaving*(width(0)+width(2)) + l.arriving*(width(1)+width(3)),
	}
}
