package switchyard

import (
	"maps"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// Stats tells of a layer's last forward pass, as this rank saw it.
type Stats struct {
	// Tokens is the number of tokens of this rank.
	Tokens int
	// Choices is the number of this rank's tokens that chose each of the layer's experts, before any were dropped.
	Choices []int
	// Dropped is the number of those choices that capacity dropped.
	Dropped int
	// Load is the number of rows that each expert hosted here computed, from all ranks. The first of them is expert FirstExpert.
	Load        []int
	FirstExpert int
	// Losses is each auxiliary loss, coefficient applied, as the mean over this rank's tokens.
	Losses map[string]float64
}

// Stats returns a copy of what is known of the last forward pass.
func (l *Layer) Stats() Stats {
	s := l.stats
	s.Choices, s.Load, s.Losses = slices.Clone(s.Choices), slices.Clone(s.Load), maps.Clone(s.Losses)
	return s
}

func (l *Layer) note(p *pass, plan *alltoall.Plan) {
	first, _ := l.layout.place.Of(l.layout.seat)
	load := make([]int, plan.Experts)
	for e := range load {
		for s := range plan.Ranks() {
			load[e] += plan.Segment(e, s).Rows
		}
	}
	l.stats = Stats{
		Tokens: p.x.Rows, Choices: slices.Clone(p.decision.Counts), Dropped: p.decision.Dropped,
		Load: load, FirstExpert: first, Losses: maps.Clone(p.decision.Losses),
	}
}
