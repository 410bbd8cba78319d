// Package pipeline runs the passes of one layer in chunks: while the rows of some chunks travel,
// the experts compute others. A [Stage] decides into how many chunks a pass is cut, runs its graph
// (schedule.Pipeline), and gives the times of that to the tuner and to an observer. A [Path] is
// what it runs: the exchange of the rows, and the experts.
package pipeline

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/autotune"
)

// Config is what a Stage needs of its layer.
type Config struct {
	// Most is the largest number of chunks of an exchange.
	Most int
	// ByRanks says that exchanges are cut by the ranks that rows come from, not by experts.
	ByRanks bool
	// Tuner chooses the number of chunks of passes of training, and has others run in one. Nil has
	// every pass run in Most.
	Tuner *autotune.Tuner
	// Background has collectives to run during backward passes; nil means none.
	Background Background
	// SplitBackward says that experts compute the gradients of their weights apart from those of
	// their rows, by Steps.Weights.
	SplitBackward bool
	// Sharded says that experts are cut over the ranks of a node, which exchange rows and answers by
	// Steps.Gather and Steps.Scatter; OneStream that these take turns with other exchanges.
	Sharded, OneStream bool
	// Observe is given the timeline of each pass; nil means nobody.
	Observe Observer
	// Exchanging counts the nanoseconds in which rows are exchanged.
	Exchanging *atomic.Int64
}

// Background is collectives that wait for a link to be idle.
type Background interface {
	// Ready is the number of collectives that can run.
	Ready() int
	// Run runs the next one.
	Run(ctx context.Context) error
}

// Observer is given the timelines of passes.
type Observer = func(pass schedule.Pass, line schedule.Timeline)

// Stage runs the passes of a layer, any number at the same time. Observe and Profile may be called
// by any goroutine at any time, SetDegree and EndStep while no pass runs.
type Stage struct {
	cfg     Config
	others  atomic.Int64 // open passes that are not plain
	mixed   atomic.Bool  // one has been open since the last step
	degree  [2]int       // of each pass, if set by hand
	observe atomic.Pointer[Observer]
	profile atomic.Pointer[autotune.Profile]
}

// New returns a stage.
func New(cfg Config) *Stage {
	s := &Stage{cfg: cfg}
	s.Observe(cfg.Observe)
	s.publish()
	return s
}

// Observe gives the timelines of passes to observe from the next pass on; nil means to nobody.
func (s *Stage) Observe(observe Observer) { s.observe.Store(&observe) }

// publish shows what the tuner goes by to other goroutines.
func (s *Stage) publish() {
	var known *autotune.Profile
	if s.cfg.Tuner != nil {
		known = s.cfg.Tuner.Profile()
	}
	s.profile.Store(known)
}

// Profile returns a copy of what the tuner goes by, or nil if it has not chosen or there is none.
func (s *Stage) Profile() *autotune.Profile { return s.profile.Load().Clone() }

// Most is the largest number of chunks of an exchange.
func (s *Stage) Most() int { return s.cfg.Most }

// SetDegree sets the number of chunks of forward and backward passes, from the next pass on. It
// ends tuning. It is an error if a number is not from 1 to Most, and then nothing is changed.
func (s *Stage) SetDegree(forward, backward int) error {
	degree := [2]int{forward, backward}
	for pass, n := range degree {
		if n < 1 || n > s.cfg.Most {
			return fmt.Errorf("%d chunks of %v passes, want 1 to %d", n, schedule.Pass(pass), s.cfg.Most)
		}
	}
	s.degree, s.cfg.Tuner = degree, nil
	s.publish()
	return nil
}

// Chunks returns the number of chunks of a pass.
func (s *Stage) Chunks(of Kind) int {
	switch {
	case s.degree != [2]int{}:
		return s.degree[of.Pass]
	case s.cfg.Tuner == nil:
		return s.cfg.Most
	case !of.Train:
		return 1
	case !of.Alone:
		return s.cfg.Tuner.Chosen(of.Pass)
	}
	return s.cfg.Tuner.Chunks(of.Pass)
}

// Cut returns how the exchanges of a pass are cut.
func (s *Stage) Cut(of Kind) alltoall.Cut {
	chunks := s.Chunks(of)
	if s.cfg.ByRanks {
		return alltoall.ByRanks(chunks)
	}
	return alltoall.ByExperts(chunks)
}

// Open notes that a pass is in flight; a plain one is of a kind of which all ranks have one at a
// time. It returns whether the pass runs alone, the same on every rank, which open passes in the
// same order: it is plain, and no other kind has been opened since the last step or is still open.
func (s *Stage) Open(plain bool) (alone bool) {
	if !plain {
		s.others.Add(1)
		s.mixed.Store(true)
	}
	return plain && !s.mixed.Load()
}

// Close is the opposite of Open.
func (s *Stage) Close(plain bool) {
	if !plain {
		s.others.Add(-1)
	}
}

// Auto reports whether the numbers of chunks are chosen by a tuner.
func (s *Stage) Auto() bool { return s.cfg.Tuner != nil }

// Predicted returns the time of a forward and a backward pass together that the tuner predicts for
// what it has chosen; 0 before that, or without one.
func (s *Stage) Predicted() time.Duration {
	if s.cfg.Tuner == nil {
		return 0
	}
	return s.cfg.Tuner.Predicted()
}

// EndPass ends a pass that started at begin.
func (s *Stage) EndPass(of Kind, begin time.Time) {
	if s.cfg.Tuner != nil && of.Train && of.Alone {
		s.cfg.Tuner.EndPass(of.Pass, time.Since(begin))
	}
}

// EndStep ends a step of the optimizer. All ranks of the tuner call it.
func (s *Stage) EndStep(ctx context.Context) error {
	s.mixed.Store(s.others.Load() > 0)
	if s.cfg.Tuner == nil {
		return nil
	}
	defer s.publish()
	return s.cfg.Tuner.EndStep(ctx)
}
