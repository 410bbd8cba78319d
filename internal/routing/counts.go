package routing

import (
	"context"
	"slices"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/router"
)

// ShareCounts tells a gate with losses over the whole global batch what the tokens of all ranks
// chose, with those of the passes of this step before it: earlier of each expert, of earlierTokens
// tokens (Megatron's global_aux_loss; Qiu et al. 2025). r.Global must be complete.
func (s *Stage) ShareCounts(
	ctx context.Context, with Ranks, r *Result, earlier []int, earlierTokens int,
) error {
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
	all := make([]int, len(counts))
	for e, n := range counts {
		all[e] = int(n)
	}
	r.Counted = slices.Clone(all)
	tokens := r.Global.TotalTokens()
	if len(earlier) > 0 {
		tokens += earlierTokens
	}
	for e, n := range earlier {
		all[e] += n
	}
	s.cfg.Turn.Do(func() { g.SetCounts(r.Decision, all, tokens) })
	return nil
}

// UpdateBias moves the bias of a gate that balances its load by one, after a step. It goes by the
// load since the last step of all ranks, of this stage and of those of micro-batches, whose biases
// it moves too.
func (s *Stage) UpdateBias(ctx context.Context, micro []*Stage) error {
	load := s.tally(micro)
	if load == nil {
		return nil
	}
	if err := s.cfg.Comm.AllReduceInt64(ctx, load, collective.Sum); err != nil {
		return errtext.Errorf("switchyard: load of the global batch: %w", err)
	}
	s.rebalance(micro, load)
	return nil
}

// DropTally forgets the load since the last step, of this stage and of those of micro-batches. Bias
// and state of the gates stay.
func (s *Stage) DropTally(micro []*Stage) {
	load := s.tally(micro)
	if load == nil {
		return
	}
	for _, of := range append([]*Stage{s}, micro...) {
		defer parameters.KeepGate(of.cfg.Gate)()
	}
	s.rebalance(micro, load) // begins new tallies
}

// tally returns the load on this rank since the last step, nil if there is no bias that follows it.
func (s *Stage) tally(micro []*Stage) []int64 {
	g, ok := s.cfg.Gate.(router.Balancer)
	if !ok {
		return nil
	}
	load := slices.Clone(g.Tally())
	for _, m := range micro {
		for e, n := range m.cfg.Gate.(router.Balancer).Tally() {
			load[e] += n
		}
	}
	return load
}

// rebalance moves the biases by a load.
func (s *Stage) rebalance(micro []*Stage, load []int64) {
	for _, of := range append([]*Stage{s}, micro...) {
		of.cfg.Gate.(router.Balancer).Rebalance(load)
	}
}
