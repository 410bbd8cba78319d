package autotune

import (
	"context"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/schedule"
)

// Summer sums vectors over the ranks that tune together.
type Summer interface {
	// AllReduce replaces x on every rank by the sum over the ranks. All of them call it, in the same
	// order, with as many elements.
	AllReduce(ctx context.Context, x []float32) error
}

// Config is what a Tuner needs to know. It is the same on all ranks but for Rank.
type Config struct {
	// Comm is how the ranks compare their times.
	Comm Summer
	// Rank is this rank, and Ranks their number.
	Rank, Ranks int
	// Most is the largest number of chunks, at least 1.
	Most int
	// Known is what an earlier job timed; nil means nothing. It must be valid ([Profile.Validate]).
	Known *Profile
}

// Tuner chooses the number of chunks of each pass. One goroutine at a time may use it. All ranks
// call EndStep after the same steps, and choose the same.
type Tuner struct {
	cfg       Config
	steps     int     // backward passes since the profile was started
	testing   []int   // numbers of chunks that take turns in this round
	from      int     // the step at which the round started
	rounds    int     // number of rounds so far
	trials    []trial // what this rank saw of each number that has had its turn, ascending
	decided   bool
	profile   Profile
	degree    [2]int // the chosen number of chunks, by pass
	collects  int    // background collectives in a backward pass
	splits    bool   // see OverlapsWeights
	predicted time.Duration
	// taken is the time of the passes since drift was last checked, in seconds, and usual the time at
	// the first check after a choice, summed over the ranks.
	taken, usual float64
}

const (
	warmSteps   = 2    // not timed
	roundSteps  = 7    // of each number of chunks in a round
	mostRounds  = 3    // the first is of one chunk and most
	retuneSteps = 2048 // steps from one profile to the next
	driftSteps  = 64   // steps from one check of drift to the next
	// worthGoroutine is how many seconds must overlap to be worth handing work from one goroutine to
	// another, if ranks share processors.
	worthGoroutine = 200e-6
	// drifted is how many times as long, or as short, as after the choice passes must take to start
	// another profile.
	drifted = 1.25
)

// New returns a tuner that starts a profile, or that has chosen by the profile that is known.
func New(cfg Config) *Tuner {
	t := &Tuner{cfg: cfg, degree: [2]int{1, 1}, profile: Profile{Ranks: cfg.Ranks, Most: cfg.Most}}
	if cfg.Known != nil {
		t.profile.Timed = slices.Clone(cfg.Known.Timed)
		t.choose()
	} else {
		t.restart()
	}
	return t
}

// restart starts another profile.
func (t *Tuner) restart() {
	t.steps, t.decided, t.rounds, t.trials = 0, false, 0, nil
	t.profile.Timed = nil
	t.startRound(slices.Compact([]int{1, t.profile.Most}))
	t.from = warmSteps
}

// startRound lets the given numbers of chunks take turns. If one of them is new, all of them start
// anew: numbers are compared by what was timed in the same round.
func (t *Tuner) startRound(degrees []int) {
	t.testing, t.from = degrees, t.steps
	t.rounds++
	if slices.ContainsFunc(degrees, func(d int) bool { return len(t.trial(d).steps) == 0 }) {
		for _, d := range degrees {
			t.trial(d).steps = nil
		}
	}
}

// trial returns the trial of a number of chunks.
func (t *Tuner) trial(chunks int) *trial {
	i, found := slices.BinarySearchFunc(t.trials, chunks, func(of trial, chunks int) int { return of.chunks - chunks })
	if !found {
		t.trials = slices.Insert(t.trials, i, trial{chunks: chunks})
	}
	return &t.trials[i]
}

// turn returns the number of chunks that the present step times, or 0. The order rotates by one
// from turn to turn, so that none always has the same of several micro-batches.
func (t *Tuner) turn() int {
	n := t.steps - t.from
	if t.decided || n < 0 || n >= roundSteps*len(t.testing) {
		return 0
	}
	return t.testing[(n+n/len(t.testing))%len(t.testing)]
}

// Timing says whether the present step is one that the tuner times: then its passes must run as
// graphs, and be recorded.
func (t *Tuner) Timing() bool { return t.turn() > 0 }

// Chunks returns the number of chunks of a pass of the present step.
func (t *Tuner) Chunks(pass schedule.Pass) int {
	if d := t.turn(); d > 0 {
		return d
	}
	return t.degree[pass]
}

// Chosen returns the number of chunks of a pass that the tuner must not time.
func (t *Tuner) Chosen(pass schedule.Pass) int { return t.degree[pass] }

// Background returns how many of the background collectives that are ready a backward pass of the
// present step runs.
func (t *Tuner) Background(ready int) int {
	if t.Timing() {
		return min(ready, 1)
	}
	return min(ready, t.collects)
}

// OverlapsWeights says whether the gradients of weights should be computed during the combine in
// one chunk too: whether both take so long that a second goroutine is worth its price.
func (t *Tuner) OverlapsWeights() bool { return t.splits }

// Profile returns a copy of what the tuner goes by, or nil before it has chosen.
func (t *Tuner) Profile() *Profile {
	if !t.decided {
		return nil
	}
	return t.profile.Clone()
}

// Predicted returns the time that a forward and a backward pass take together in the chosen numbers
// of chunks, on the slowest rank, by the profile; 0 before the first choice.
func (t *Tuner) Predicted() time.Duration { return t.predicted }

// EndPass records the time of a whole pass of training. A backward pass ends the step of the tuner.
func (t *Tuner) EndPass(pass schedule.Pass, took time.Duration) {
	t.taken += took.Seconds()
	if s := t.sample(pass); s != nil {
		s.Whole += took.Seconds()
	}
	if pass == schedule.Backward {
		t.steps++
	}
}

// Record takes the times of a pass's operations, if the present step is timed.
func (t *Tuner) Record(pass schedule.Pass, line schedule.Timeline) {
	if s := t.sample(pass); s != nil {
		s.add(line)
	}
}

// sample returns where the times of a pass of the present step belong, nil if it is not timed.
func (t *Tuner) sample(pass schedule.Pass) *OpSeconds {
	d := t.turn()
	if d == 0 {
		return nil
	}
	return t.trial(d).sample(t.steps, pass)
}

// EndStep ends a step of the optimizer. Once a round is complete the ranks compare their times:
// here, where none of them can be missing because it could not route its tokens.
func (t *Tuner) EndStep(ctx context.Context) error {
	switch n := t.steps - t.from - roundSteps*len(t.testing); {
	case n < 0:
	case !t.decided:
		return t.endRound(ctx)
	case n > retuneSteps:
		t.restart()
	case n%driftSteps == 0:
		return t.checkDrift(ctx)
	}
	return nil
}

// checkDrift sums the ranks' times since the last check, and starts another profile if they are not
// what they were after the choice.
func (t *Tuner) checkDrift(ctx context.Context) error {
	taken := []float32{float32(t.taken)}
	t.taken = 0
	if err := t.cfg.Comm.AllReduce(ctx, taken); err != nil {
		return errtext.Errorf("autotune: summing the time of passes: %w", err)
	}
	switch now := float64(taken[0]); {
	case t.usual == 0:
		t.usual = now
	case now > drifted*t.usual || now*drifted < t.usual:
		t.restart()
	}
	return nil
}

// endRound sums what the ranks saw in a round. It starts another with the numbers of chunks that
// may still be the fastest, or chooses.
func (t *Tuner) endRound(ctx context.Context) error {
	for _, d := range t.testing {
		seen, err := t.trial(d).sum(ctx, &t.cfg)
		if err != nil {
			return errtext.Errorf("autotune: choosing the number of chunks: %w", err)
		}
		t.profile.insert(seen)
	}
	if next := t.profile.candidates(); len(next) > 1 && t.rounds < mostRounds {
		t.startRound(next)
		return nil
	}
	t.choose()
	return nil
}

// choose takes the numbers of chunks that are fastest by the profile. The predicted time of a step
// is that of its passes, and by how much the slowest rank's steps in these numbers of chunks took
// longer than the mean of their passes.
func (t *Tuner) choose() {
	t.decided, t.taken, t.usual = true, 0, 0
	seconds := 0.0
	for pass := range t.degree {
		m := t.profile.model(schedule.Pass(pass))
		t.degree[pass] = m.bestDegree()
		seconds += m.time(t.degree[pass], 0) + t.profile.skew(t.degree[pass])/2
		if m.pass == schedule.Backward {
			t.collects = m.bestBackground(t.degree[pass])
		}
	}
	back := &t.profile.Timed[0].Backward
	t.splits = min(back.Weights, back.Combine) > worthGoroutine
	t.predicted = time.Duration(seconds * 1e9)
}
