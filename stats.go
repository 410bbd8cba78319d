package switchyard

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/schedule"
)

// Stats tells of a layer's last forward pass, that of Eval included, as this rank saw it.
type Stats struct {
	// Tokens is the number of tokens of this rank, and Padding how many of them are padding.
	Tokens, Padding int
	// Choices is the number of this rank's tokens that chose each of the layer's experts, before
	// any were dropped; or that each of them chose; or of slots, where rows are mixtures of tokens.
	Choices []int
	// Dropped is the number of those choices that capacity dropped.
	Dropped int
	// Unanswered is the number of this rank's tokens, padding left out, that no expert but a shared
	// one answers.
	Unanswered int
	// Rounds is how many times routing added up counts over the ranks.
	Rounds int
	// Load is the number of rows that each expert hosted here computed, from all ranks. The first
	// of them is expert FirstExpert.
	Load        []int
	FirstExpert int
	// Losses is each auxiliary loss, coefficient applied, as the mean over this rank's tokens.
	Losses map[string]float64
	// Compression tells what compression did, where the layer has any.
	Compression CompressionStats
	// Exchanging is the time in which rows and their counts were exchanged, in all passes of the
	// layer so far.
	Exchanging time.Duration
	// Overlap tells into how many parts exchanges are cut.
	Overlap OverlapStats
}

// told is what a layer tells of itself, to any goroutine at any time.
type told struct {
	mu      sync.Mutex
	stats   Stats
	profile *OverlapProfile
}

// OverlapProfile returns what [Overlap.Auto] has timed and goes by, the same on every rank, or nil
// before it is complete. Any goroutine may call it at any time.
func (l *Layer) OverlapProfile() *OverlapProfile {
	l.told.mu.Lock()
	defer l.told.mu.Unlock()
	if l.told.profile == nil {
		return nil
	}
	profile := *l.told.profile
	profile.Timed = slices.Clone(profile.Timed)
	return &profile
}

// tellProfile has OverlapProfile return what the tuner goes by now.
func (l *Layer) tellProfile() {
	l.told.mu.Lock()
	defer l.told.mu.Unlock()
	l.told.profile = nil
	if l.tuner != nil {
		l.told.profile = l.tuner.Profile()
	}
}

// OverlapStats tells of the parts of a layer's exchanges.
type OverlapStats struct {
	// Auto tells whether the layer chooses them by itself ([Overlap.Auto]).
	Auto bool
	// Forward and Backward are the number of parts.
	Forward, Backward int
	// Predicted is what a forward and a backward pass take together in that many, by the profile,
	// on the slowest rank; 0 before Auto has chosen.
	Predicted time.Duration
}

// Stats returns a copy of what is known of the last forward pass. Any goroutine may call it at any
// time.
func (l *Layer) Stats() Stats {
	l.told.mu.Lock()
	defer l.told.mu.Unlock()
	s := l.told.stats
	s.Exchanging = time.Duration(l.exchanging.Load())
	s.Choices, s.Load, s.Losses = slices.Clone(s.Choices), slices.Clone(s.Load), maps.Clone(s.Losses)
	return s
}

func (l *Layer) note(p *pass, plan *alltoall.Plan) {
	first, _ := l.layout.Placement.Of(l.layout.Rank)
	load := make([]int, plan.Experts)
	for e := range load {
		for s := range plan.Ranks() {
			load[e] += plan.Segment(e, s).Rows
		}
	}
	s := Stats{
		Tokens: p.X.Rows, Padding: p.X.Rows - p.Real, Unanswered: p.Unanswered(p.Tokens), Rounds: p.Rounds,
		Choices: slices.Clone(p.Decision.Counts), Dropped: p.Decision.Dropped,
		Load: load, FirstExpert: first, Losses: maps.Clone(p.Decision.Losses),
	}
	s.Overlap = OverlapStats{Auto: l.tuner != nil, Forward: p.handle.Chunks(), Backward: l.parts(p, schedule.Backward)}
	if l.tuner != nil {
		s.Overlap.Predicted = l.tuner.Predicted()
	}
	s.Compression = l.compressionStats(p, plan)
	l.told.mu.Lock()
	defer l.told.mu.Unlock()
	l.told.stats = s
}
