package switchyard

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/router"
)

// route makes the pass's decision, with the other ranks where the gate asks for them. A rank whose
// tokens cannot be routed fails the step on every rank.
func (l *Layer) route(ctx context.Context, p *pass) (err error) {
	if g, ok := l.gate.(router.Consulting); ok {
		return l.consult(ctx, p, g)
	}
	if err = p.checkInput(); err == nil {
		l.compute(func() { p.decision, err = l.gate.Route(p.x, p.side) })
	}
	if err == nil {
		err = l.checkDecision(p)
	}
	if err != nil {
		return l.refuse(ctx, p, err)
	}
	return nil
}

// consult routes with a gate that looks at other ranks' tokens. Each round adds up counts over the
// world: a rank sends each of the others 8 bytes a count, and in the first round 8 more, by which
// one that cannot route its tokens says so.
func (l *Layer) consult(ctx context.Context, p *pass, g router.Consulting) error {
	c := g.Consult(p.x, p.side, router.Share{Index: int(l.world.Rank()), Count: l.world.Size()})
	counts, cause := c.Next(nil)
	if err := p.checkInput(); err != nil {
		cause = err
	}
	refused := false
	if len(counts) > 0 {
		var err error
		if counts, refused, err = l.firstRound(ctx, counts, cause != nil); err != nil {
			return err
		}
	}
	switch {
	case cause != nil:
		return l.refuse(ctx, p, cause)
	case refused:
		return l.heedRefusal(ctx, p)
	}
	if err := l.addUp(ctx, p, c, counts); err != nil {
		return errtext.Errorf("switchyard: routing the global batch: %w", err)
	}
	p.decision = c.Decide()
	if err := l.checkDecision(p); err != nil {
		return l.refuse(ctx, p, err)
	}
	return nil
}

// checkDecision returns what is wrong with what the gate has decided. A gate may be anybody's: what
// it gets wrong fails the batch on every rank, before rows are moved by it.
func (l *Layer) checkDecision(p *pass) error {
	d, tokens, experts := p.decision, p.x.Rows, l.cfg.Experts
	switch {
	case d == nil:
		return errors.New("the gate made no decision")
	case d.Tokens != tokens || d.Experts != experts:
		return fmt.Errorf("the gate's decision is of %d tokens and %d experts, want %d and %d", d.Tokens, d.Experts, tokens, experts)
	case d.Mixture != nil:
		return checkMixture(d.Mixture, p.ends, tokens, experts)
	case !f32.Finite(d.Weight):
		return fmt.Errorf("%w: a weight of the gate's decision", alltoall.ErrNotFinite)
	}
	if err := d.Validate(); err != nil {
		return errtext.Errorf("the gate's decision: %w", err)
	}
	return nil
}

// checkMixture is checkDecision for a mixture.
func checkMixture(m *router.Mixture, ends []int, tokens, experts int) error {
	if m.Slots < 1 || m.Slots > check.MaxSize || !slices.Equal(m.Ends, ends) || len(m.Empty) != len(ends) {
		return fmt.Errorf("the gate's mixture has %d slots, groups that end at %v, and says of %d groups whether they are empty; want 1 slot or more, and the groups %v",
			m.Slots, m.Ends, len(m.Empty), ends)
	}
	for name, matrix := range map[string]blas32.General{"Dispatch": m.Dispatch, "Combine": m.Combine} {
		err := check.Matrix(matrix, experts*m.Slots)
		if err == nil && matrix.Rows != tokens {
			err = fmt.Errorf("%d rows, want %d", matrix.Rows, tokens)
		}
		if err != nil {
			return errtext.Errorf("the gate's mixture: %s has %w", name, err)
		}
	}
	return nil
}

// addUp goes through the rounds of a consultation, of which the first has given sums. An error is
// the same on every rank.
func (l *Layer) addUp(ctx context.Context, p *pass, c router.Consultation, sums []int64) error {
	for len(sums) > 0 {
		p.rounds++
		counts, err := c.Next(sums)
		if err != nil || len(counts) == 0 {
			return err
		}
		if err := l.everyone.AllReduceInt64(ctx, counts, collective.Sum); err != nil {
			return err
		}
		sums = counts
	}
	return nil
}

// firstRound adds up the first counts, and the ranks that refuse.
func (l *Layer) firstRound(ctx context.Context, counts []int64, refuse bool) (sums []int64, refused bool, err error) {
	words := append([]int64{0}, counts...)
	if refuse {
		words[0] = 1
	}
	if err := l.everyone.AllReduceInt64(ctx, words, collective.Sum); err != nil {
		return nil, false, errtext.Errorf("switchyard: routing the global batch: %w", err)
	}
	return words[1:], words[0] > 0, nil
}

// heedRefusal takes this rank's part in learning which of the others cannot route its tokens, and
// returns that.
func (l *Layer) heedRefusal(ctx context.Context, p *pass) error {
	if _, err := l.census(ctx, p, nil); err != nil || l.asks(p) {
		return err
	}
	_, _, err := l.exchange.Dispatch(ctx, alltoall.Counts{Rows: []int{}}, blas32.General{})
	return err
}

// countGlobally tells a gate with losses over the whole global batch what all ranks' tokens chose,
// with those of the passes of this step before it (Megatron's global_aux_loss; Qiu et al. 2025).
func (l *Layer) countGlobally(ctx context.Context, p *pass) error {
	g, ok := l.gate.(router.GlobalCounter)
	if !ok || !g.WantsCounts() {
		return nil
	}
	counts := make([]int64, len(p.decision.Counts))
	for e, n := range p.decision.Counts {
		counts[e] = int64(n)
	}
	if err := l.everyone.AllReduceInt64(ctx, counts, collective.Sum); err != nil {
		return errtext.Errorf("switchyard: counts of the global batch: %w", err)
	}
	all, tokens := make([]int, len(counts)), mat.Sum(p.batch.tokens)
	for e, n := range counts {
		all[e] = int(n)
	}
	if p.counted = slices.Clone(all); p.side.Train && len(l.losses.counts) > 0 {
		for e, n := range l.losses.counts {
			all[e] += n
		}
		tokens += l.losses.came
	}
	g.SetCounts(p.decision, all, tokens)
	return nil
}

// rebalance moves the bias of a gate that keeps its load even by one.
func (l *Layer) rebalance(ctx context.Context) error {
	g, ok := l.gate.(router.Balancer)
	if !ok {
		return nil
	}
	total := l.tally(g)
	if total == nil {
		return nil
	}
	if err := l.everyone.AllReduceInt64(ctx, total, collective.Sum); err != nil {
		return errtext.Errorf("switchyard: load of the global batch: %w", err)
	}
	g.Rebalance(total)
	for _, t := range l.twins {
		t.gate.(router.Balancer).Rebalance(total)
	}
	return nil
}
