package pipeline

import (
	"context"
	"time"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/schedule"
)

// Steps are what a pass does to each chunk, and once. Those that are not of a pass are nil.
type Steps struct {
	// Dispatch and Combine move the rows of a chunk to the experts and back.
	Dispatch, Combine func(ctx context.Context, chunk int) error
	// Gather gives the rows of a chunk to the ranks that its experts are cut over, and Scatter sums
	// and returns what these have computed, if Config.Sharded.
	Gather, Scatter func(ctx context.Context, chunk int) error
	// Experts computes the answers to a chunk, or the gradients of its rows.
	Experts func(chunk int)
	// Weights computes the gradients of the weights for a chunk: of backward passes, if they are
	// split.
	Weights func(chunk int)
	// Shared computes the shared expert, while the first chunk travels.
	Shared func()
}

// Kind says which pass runs.
type Kind struct {
	Pass schedule.Pass
	// Train is false in evaluation.
	Train bool
	// Alone is what [Stage.Open] has returned: only such a pass is timed, runs background
	// collectives, and has the tuner count it.
	Alone bool
	// Number is that of the pass in its layer.
	Number uint64
}

// Run runs a pass in chunks: one step after the other if nothing is to overlap, else with the
// exchanges on a goroutine of their own, all dispatches before all combines, what sharded experts
// exchange within a node on another, and the rest on this one. The first error ends it.
func (s *Stage) Run(ctx context.Context, of Kind, chunks int, do Steps) error {
	tuner, observe := s.cfg.Tuner, *s.observe.Load()
	p := schedule.Pipeline{
		Pass: of.Pass, Chunks: chunks, Background: s.background(of),
		SplitBackward: s.cfg.SplitBackward && of.Pass == schedule.Backward,
		Sharded:       s.cfg.Sharded, OneStream: s.cfg.OneStream,
	}
	timing := tuner != nil && of.Train && of.Alone && tuner.Timing()
	overlapsWeights := p.SplitBackward && tuner != nil && tuner.OverlapsWeights()
	if chunks == 1 && !timing && !overlapsWeights && p.Background == 0 && observe == nil {
		return s.inTurn(ctx, p.SplitBackward, &do)
	}
	line, err := schedule.Execute(ctx, p.Graph(), func(ctx context.Context, t *schedule.Task) error {
		return s.task(ctx, t, &do)
	})
	if err != nil {
		return err
	}
	if line.Number = of.Number; timing {
		tuner.Record(of.Pass, line)
	}
	if observe != nil {
		observe(of.Pass, line)
	}
	return nil
}

// background is how many of the background collectives a pass runs.
func (s *Stage) background(of Kind) int {
	if s.cfg.Background == nil || of.Pass != schedule.Backward || !of.Alone {
		return 0
	}
	ready := s.cfg.Background.Ready()
	if s.cfg.Tuner == nil {
		return ready
	}
	return s.cfg.Tuner.Background(ready)
}

// inTurn runs the only chunk of a pass.
func (s *Stage) inTurn(ctx context.Context, split bool, do *Steps) error {
	if err := s.exchange(ctx, do.Dispatch, 0); err != nil {
		return err
	}
	if err := s.within(ctx, do.Gather); err != nil {
		return err
	}
	do.Shared()
	do.Experts(0)
	if split {
		do.Weights(0)
	}
	if err := s.within(ctx, do.Scatter); err != nil {
		return err
	}
	return s.exchange(ctx, do.Combine, 0)
}

// within moves the rows of the only chunk within the node, if experts are sharded.
func (s *Stage) within(ctx context.Context, move func(context.Context, int) error) error {
	if !s.cfg.Sharded {
		return nil
	}
	return s.exchange(ctx, move, 0)
}

// task runs one task of a pass's graph.
func (s *Stage) task(ctx context.Context, t *schedule.Task, do *Steps) error {
	switch t.Op {
	case schedule.Dispatch:
		return s.exchange(ctx, do.Dispatch, t.Chunk)
	case schedule.Combine:
		return s.exchange(ctx, do.Combine, t.Chunk)
	case schedule.Gather:
		return s.exchange(ctx, do.Gather, t.Chunk)
	case schedule.Scatter:
		return s.exchange(ctx, do.Scatter, t.Chunk)
	case schedule.GradReduce:
		if err := s.cfg.Background.Run(ctx); err != nil {
			return errtext.Errorf("switchyard: Overlap.Background: %w", err)
		}
	case schedule.Shared:
		do.Shared()
	case schedule.Weights:
		do.Weights(t.Chunk)
	default:
		do.Experts(t.Chunk)
	}
	return nil
}

// exchange moves the rows of a chunk, and counts the time.
func (s *Stage) exchange(ctx context.Context, move func(context.Context, int) error, chunk int) error {
	begin := time.Now()
	defer func() { s.cfg.Exchanging.Add(int64(time.Since(begin))) }()
	return move(ctx, chunk)
}
