package switchyard

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/internal/gaps"
	"github.com/switchyard-moe/switchyard/schedule"
)

// Stats describes a layer's last forward pass, or Eval, as this rank saw it.
type Stats struct {
	// Tokens is the number of tokens of this rank, and Padding how many of them are padding.
	Tokens, Padding int
	// Choices is the number of this rank's tokens that chose each of the layer's experts, before
	// any were dropped; or that each of them chose; or of slots, if rows are mixtures of tokens.
	Choices []int
	// Dropped is the number of those choices that capacity dropped.
	Dropped int
	// Unanswered is the number of this rank's tokens, but padding, that no routed expert answers.
	Unanswered int
	// Rounds is the number of times that routing summed counts over the ranks.
	Rounds int
	// Load is the number of rows of each expert hosted here, from all ranks, also of those that
	// other ranks computed (Balance). The first is FirstExpert; see [Config].Order.
	Load        []int
	FirstExpert int
	// Losses is each auxiliary loss, with its coefficient, as the mean over this rank's tokens.
	Losses map[string]float64
	// Compression describes what compression did, if the layer has any.
	Compression CompressionStats
	// Exchanging is the time in which rows and their counts were exchanged, in all passes so far.
	Exchanging time.Duration
	// Overlap describes the chunks that exchanges are cut into.
	Overlap OverlapStats
	// Balance describes which experts were shared out; it is the same on every rank of a copy.
	Balance balance.Stats
}

// OverlapStats describes the chunks that a layer's exchanges are cut into.
type OverlapStats struct {
	// Auto says that the layer chooses the numbers of chunks by itself ([Overlap.Auto]).
	Auto bool
	// Forward and Backward are the number of chunks.
	Forward, Backward int
	// Predicted is the time that a forward and a backward pass take together in these numbers of
	// chunks, by the profile, on the slowest rank; 0 before Auto has chosen.
	Predicted time.Duration
	// Pieces is how many pieces of sums of gradients have begun so far ([Overlap.GradientPiece]), and
	// InGaps how many of them in gaps between exchanges of rows, before anything waited for the sum.
	Pieces, InGaps int
}

// noteStats notes what a forward pass was like.
func (p *Pass) noteStats() {
	kept, s, plan := &p.kept, &p.layer.stages, p.kept.Handle.Plan()
	stats := Stats{
		Tokens: kept.X.Rows, Padding: kept.X.Rows - kept.Real, Unanswered: kept.Unanswered(&kept.Tokens), Rounds: kept.Rounds,
		Choices: slices.Clone(kept.Decision.Counts), Dropped: kept.Decision.Dropped,
		Load: kept.Load(), FirstExpert: s.Order.Experts().Expert(s.Path.Experts.First()), Losses: maps.Clone(kept.Decision.Losses), Balance: kept.Balance.Stats(),
		Overlap: OverlapStats{Auto: s.Path.Auto(), Predicted: s.Path.Predicted(),
			Forward: kept.Handle.Chunks(), Backward: s.Path.Chunks(kept.Kind(schedule.Backward))},
	}
	if kept.Info.Train {
		stats.Compression = CompressionStats(s.Compression.Stats(kept.Compressed, kept.Result.Counts(&kept.Tokens), plan))
	}
	p.stats = &stats
	p.layer.stats.last.Store(&stats)
}

// statsBoard holds the Stats of the last forward pass, for any goroutine at any time.
type statsBoard struct {
	last       atomic.Pointer[Stats]
	exchanging atomic.Int64 // nanoseconds, in all passes
	gaps       gaps.Counts
}

// Stats returns a copy of those of the last forward pass. Any goroutine may call it at any time.
func (l *Layer) Stats() Stats { return l.stats.get() }

func (b *statsBoard) get() Stats {
	s := b.last.Load().clone()
	s.Exchanging = time.Duration(b.exchanging.Load())
	s.Overlap.Pieces, s.Overlap.InGaps = b.gaps.Load()
	return s
}

// clone returns a copy, which is empty if there are none.
func (s *Stats) clone() (c Stats) {
	if s != nil {
		c = *s
	}
	c.Choices, c.Load, c.Losses = slices.Clone(c.Choices), slices.Clone(c.Load), maps.Clone(c.Losses)
	return c
}
