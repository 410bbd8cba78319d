package routing

import (
	"context"
	"slices"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/router"
)

// Earlier is the passes of a step before one.
type Earlier interface {
	// Before is the number of the last pass that counts with this one, as far as this rank knows.
	Before() int
	// Earlier returns how many tokens of the passes of the step up to number last chose each expert,
	// and the number of those tokens.
	Earlier(last int) (choices []int, tokens int)
}

// ShareCounts tells a gate with losses over the whole global batch what the tokens of all ranks
// chose, with those of the passes of this step before it, if that is not nil (Megatron's
// global_aux_loss; Qiu et al. 2025). With agree the ranks may know of different numbers of such
// passes, and count the fewest; it is the same on every rank. r.Global must be complete.
//
// Direct: 8 bytes an expert to each other rank, and 8 more to agree.
func (s *Stage) ShareCounts(ctx context.Context, with Ranks, r *Result, before Earlier, agree bool) error {
	g, ok := s.cfg.Gate.(router.GlobalCounter)
	if !ok || !g.WantsCounts() {
		return nil
	}
	counts := make([]int64, len(r.Decision.Counts))
	for e, n := range r.Decision.Counts {
		counts[e] = int64(n)
	}
	if err := with.Comm.AllReduceInt64(ctx, counts, collective.Sum); err != nil {
		return errtext.Errorf("switchyard: counts of the global batch: %w", err)
	}
	earlier, tokens, err := earlierCounts(ctx, with, before, agree)
	if err != nil {
		return err
	}
	all := make([]int, len(counts))
	for e, n := range counts {
		all[e] = int(n)
	}
	r.Counted = slices.Clone(all)
	for e, n := range earlier {
		all[e] += n
	}
	tokens += r.Global.TotalTokens()
	s.cfg.Turn.Do(func() { g.SetCounts(r.Decision, all, tokens) })
	return nil
}

// earlierCounts returns what the tokens of earlier passes chose, the same on every rank.
func earlierCounts(ctx context.Context, with Ranks, before Earlier, agree bool) (choices []int, tokens int, err error) {
	if before == nil {
		return nil, 0, nil
	}
	n := []int64{int64(before.Before())}
	if agree {
		if err := with.Comm.AllReduceInt64(ctx, n, collective.Min); err != nil {
			return nil, 0, errtext.Errorf("switchyard: number of passes that count together: %w", err)
		}
	}
	choices, tokens = before.Earlier(int(n[0]))
	return choices, tokens, nil
}

// UpdateBias moves the bias of a gate that balances its load by one, after a step. It goes by the
// load of all ranks since the last step.
func (s *Stage) UpdateBias(ctx context.Context) error {
	g, load := s.tally()
	if load == nil {
		return nil
	}
	if err := s.cfg.Comm.AllReduceInt64(ctx, load, collective.Sum); err != nil {
		return errtext.Errorf("switchyard: load of the global batch: %w", err)
	}
	g.Rebalance(load)
	return nil
}

// DropTally forgets the load since the last step. Bias and state of the gate stay.
func (s *Stage) DropTally() {
	if g, load := s.tally(); load != nil {
		defer parameters.KeepGate(g)()
		g.Rebalance(load) // begins a new tally
	}
}

// tally returns the gate, and the load on this rank since the last step; nil if there is no bias
// that follows it.
func (s *Stage) tally() (router.Balancer, []int64) {
	if g, ok := s.cfg.Gate.(router.Balancer); ok {
		return g, slices.Clone(g.Tally())
	}
	return nil, nil
}
