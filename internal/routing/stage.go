// Package routing is the stage of a layer that decides which expert takes which token, together
// with the other ranks.
//
// The ranks meet here for three things: a gate may count tokens over all of them, a rank whose
// tokens cannot be routed fails the pass on all of them, and each learns how many tokens the others
// have.
package routing

import (
	"context"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// Config is what a stage uses.
type Config struct {
	// Gate decides, for Experts experts. The stage takes it over.
	Gate    router.Gate
	Experts int
	// Passes is the number of passes of equal size in a step, by which auxiliary losses are weighed.
	Passes int
	// Comm is over all ranks of the world, for what is not of a pass.
	Comm *collective.Comm
	// Joined is the number by which errors name a rank of Comm.
	Joined func(transport.Rank) transport.Rank
	// Replicas is the number of copies of the experts, each on as many ranks.
	Replicas int
	// Turn has the gate compute in turn with what else computes.
	Turn *lifecycle.Turn
}

// Ranks is the other ranks in one pass.
type Ranks struct {
	// Comm is over all ranks of the world.
	Comm *collective.Comm
	// Dispatch is that of the pass.
	Dispatch Dispatch
}

// Dispatch carries rows to the ranks of this copy of the experts.
type Dispatch interface {
	// Abort tells them, in place of a dispatch, that this rank has no rows for it.
	Abort(ctx context.Context) error
	// AwaitAbort takes part in a dispatch that another rank aborts, and returns its error.
	AwaitAbort(ctx context.Context) error
}

// Stage routes the batches of one layer. Several passes may call it at a time; the gate's methods
// are called in turn.
type Stage struct{ cfg Config }

// New makes a stage.
func New(cfg Config) *Stage { return &Stage{cfg: cfg} }

// Result is how a pass was routed.
type Result struct {
	// Decision is the gate's.
	Decision *router.Decision
	// Global is the global batch, as far as the ranks have told each other: see
	// [batch.Global.FillFromPlan].
	Global batch.Global
	// Rounds is how many times routing added up counts over the ranks.
	Rounds int
	// Counted is the number of tokens that chose each expert, over all ranks, if a loss asks for
	// it.
	Counted []int

	rows []int // of each expert, by token group, once they are counted
}

// Route decides for this rank's tokens. A rank whose tokens cannot be routed fails the pass on
// every rank with [alltoall.ErrRefused]. With gather the ranks tell each other how many tokens they
// have before anything else of the pass; it is the same on every rank.
func (s *Stage) Route(ctx context.Context, with Ranks, t *batch.Tokens, gather bool) (r Result, err error) {
	gather = gather || s.cfg.Replicas > 1
	if g, ok := s.cfg.Gate.(router.Consulting); ok {
		err = s.consult(ctx, with, t, g, gather, &r)
	} else {
		err = s.decide(ctx, with, t, gather, &r)
	}
	if err != nil {
		return r, err
	}
	r.Global, err = s.gatherBatchInfo(ctx, with, t, gather, nil)
	return r, err
}

// decide routes with a gate that looks at this rank's tokens alone.
func (s *Stage) decide(ctx context.Context, with Ranks, t *batch.Tokens, gather bool, r *Result) (err error) {
	if err = t.CheckFinite(); err == nil {
		s.cfg.Turn.Do(func() { r.Decision, err = s.cfg.Gate.Route(t.X, t.Info) })
	}
	if err == nil {
		err = checkDecision(r.Decision, t, s.cfg.Experts)
	}
	if err != nil {
		return s.abort(ctx, with, t, gather, err)
	}
	return nil
}

// consult routes with a gate that looks at other ranks' tokens. Each round adds up counts over the
// world: a rank sends each of the others 8 bytes a count, and in the first round 8 more, by which
// one that cannot route its tokens says so.
func (s *Stage) consult(
	ctx context.Context, with Ranks, t *batch.Tokens, g router.Consulting, gather bool, r *Result,
) error {
	me := router.Share{Index: int(s.cfg.Comm.Rank()), Count: s.cfg.Comm.Size()}
	var c router.Consultation
	var counts []int64
	var cause error
	s.cfg.Turn.Do(func() {
		c = g.Consult(t.X, t.Info, me)
		counts, cause = c.Next(nil)
	})
	if err := t.CheckFinite(); err != nil {
		cause = err
	}
	aborted := false
	if len(counts) > 0 {
		var err error
		if counts, aborted, err = firstRound(ctx, with.Comm, counts, cause != nil); err != nil {
			return err
		}
	}
	switch {
	case cause != nil:
		return s.abort(ctx, with, t, gather, cause)
	case aborted:
		return s.awaitAbort(ctx, with, t, gather)
	}
	if err := s.laterRounds(ctx, with.Comm, c, counts, &r.Rounds); err != nil {
		return errtext.Errorf("switchyard: routing the global batch: %w", err)
	}
	s.cfg.Turn.Do(func() { r.Decision = c.Decide() })
	if err := checkDecision(r.Decision, t, s.cfg.Experts); err != nil {
		return s.abort(ctx, with, t, gather, err)
	}
	return nil
}

// firstRound adds up the first counts, and the ranks that abort.
func firstRound(ctx context.Context, comm *collective.Comm, counts []int64, abort bool) (
	sums []int64, aborted bool, err error,
) {
	words := append([]int64{0}, counts...)
	if abort {
		words[0] = 1
	}
	if err := comm.AllReduceInt64(ctx, words, collective.Sum); err != nil {
		return nil, false, errtext.Errorf("switchyard: routing the global batch: %w", err)
	}
	return words[1:], words[0] > 0, nil
}

// laterRounds goes through the rounds of a consultation after the first, which has given sums. An
// error is the same on every rank.
func (s *Stage) laterRounds(
	ctx context.Context, comm *collective.Comm, c router.Consultation, sums []int64, rounds *int,
) error {
	for len(sums) > 0 {
		*rounds++
		var counts []int64
		var err error
		s.cfg.Turn.Do(func() { counts, err = c.Next(sums) })
		if err != nil || len(counts) == 0 {
			return err
		}
		if err := comm.AllReduceInt64(ctx, counts, collective.Sum); err != nil {
			return err
		}
		sums = counts
	}
	return nil
}

// Backward takes the gradient back through the gate: it adds that of t.X to g.DX, and gives those
// of the parameters to the gate's. LossScale and FirstLeaf in g are filled in.
func (s *Stage) Backward(t *batch.Tokens, r *Result, g router.Gradient) error {
	g.LossScale = t.LossScale(r.Global, s.cfg.Passes)
	g.FirstLeaf = r.Global.FirstLeaf(s.cfg.Comm.Rank())
	if err := s.cfg.Gate.Backward(r.Decision, t.X, g); err != nil {
		return errtext.Errorf("switchyard: gradient of the gate: %w", err)
	}
	return nil
}
