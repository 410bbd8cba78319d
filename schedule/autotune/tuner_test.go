package autotune

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/schedule"
)

// half is one end of a group of two ranks.
type half struct{ mine, theirs chan []float32 }

func (h half) AllReduce(ctx context.Context, x []float32) error {
	h.mine <- slices.Clone(x)
	select {
	case other := <-h.theirs:
		for i, v := range other {
			x[i] += v
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pair is the tuners of two ranks.
type pair [2]*Tuner

func newPair(most int) (p pair) {
	ends := [2]chan []float32{make(chan []float32, 1), make(chan []float32, 1)}
	for r := range p {
		p[r] = New(Config{Comm: half{ends[r], ends[1-r]}, Rank: r, Ranks: 2, Most: most})
	}
	return p
}

// feed gives each rank the times of a step, and ends it.
func (p pair) feed(t *testing.T, of func(rank int, pass schedule.Pass) OpSeconds) {
	t.Helper()
	for r, u := range p {
		for pass := range schedule.Pass(2) {
			if to := u.sample(pass); to != nil {
				*to = of(r, pass)
			}
		}
		u.steps++
	}
	p.endStep(t)
}

// endStep ends the step of the optimizer on both ranks.
func (p pair) endStep(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	other := make(chan error, 1)
	go func() { other <- p[1].EndStep(ctx) }()
	require.NoError(t, p[0].EndStep(ctx))
	require.NoError(t, <-other)
}

// TestTunerFindsTheFastest in invented worlds, for each pass, where each rank sees times of its own
// and one step in five is disturbed. It does not time what is predicted to be far slower, and
// predicts how long steps take.
func TestTunerFindsTheFastest(t *testing.T) {
	for name, w := range map[string][2]truth{
		"balanced":   {{dispatch: 4, experts: 8, combine: 4}, {dispatch: 4, experts: 8, combine: 4}},
		"apart":      {{dispatch: 4, experts: 8, combine: 4, alpha: 0.2}, {dispatch: 4, experts: 16, combine: 4, alpha: 1.2, overlapping: 1}},
		"no overlap": {{experts: 8, dispatch: 0.1, combine: 0.1, overlapping: 2}, {experts: 8, dispatch: 0.1, combine: 0.1, overlapping: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			want, total := fastest(w)
			p := newPair(8)
			timed := map[int]int{}
			for p[0].steps < 200 && !p[0].decided {
				timed[p[0].turn()]++
				require.Equal(t, p[0].turn() > 0, p[0].Timing())
				p.feed(t, func(rank int, pass schedule.Pass) OpSeconds {
					s := w[pass].seconds(p[rank].Chunks(pass))
					if p[rank].steps%5 == 0 {
						s.Whole *= 1.5
					}
					s.Whole += 0.02 * (float64(rank) - 0.5) // the second rank is slower
					return s
				})
			}
			for _, u := range p {
				require.True(t, u.decided)
				require.Equal(t, want, u.degree)
				require.InDelta(t, total+0.02, u.Predicted().Seconds(), 1e-5, "of the slowest rank")
			}
			require.Equal(t, warmSteps, timed[0])
			if name == "balanced" {
				require.Zero(t, timed[2], "predicted to be a third slower than eight chunks")
				require.Equal(t, roundSteps, timed[8], "the only candidate needs no other round")
			}
			requireKnown(t, p[0])
		})
	}
}

// fastest returns the best number of chunks of each pass, and the time of both.
func fastest(w [2]truth) (want [2]int, total float64) {
	for pass, of := range w {
		least := math.Inf(1)
		for _, d := range []int{1, 2, 4, 8} {
			if s := of.seconds(d).Whole; s < least {
				least, want[pass] = s, d
			}
		}
		total += least
	}
	return want, total
}

// requireKnown checks that a tuner that is given the profile of u, kept as JSON, chooses the same.
func requireKnown(t *testing.T, u *Tuner) {
	t.Helper()
	text, err := json.Marshal(u.Profile())
	require.NoError(t, err)
	var known Profile
	require.NoError(t, json.Unmarshal(text, &known))
	require.NoError(t, known.Validate(2, 8))
	other := New(Config{Ranks: 2, Most: 8, Known: &known})
	require.Equal(t, u.degree, other.degree)
	require.Equal(t, u.Predicted(), other.Predicted())
	require.Equal(t, u.Profile(), other.Profile())
}

// TestTunerComparesWhatWasTimedInTheSameRound: if a number of chunks is new to a round, all of the
// round start anew; else they add to what they have.
func TestTunerComparesWhatWasTimedInTheSameRound(t *testing.T) {
	p := newPair(4)
	u := p[0]
	var turns []int
	for round, want := range [][]int{{1, 4}, {1, 2, 4}, {1, 2, 4}} {
		require.Equal(t, want, u.testing, "round %d", round)
		require.Nil(t, u.Profile(), "nothing is chosen")
		for n := roundSteps*len(want) + u.from - u.steps; n > 0; n-- {
			if d := u.turn(); d > 0 {
				turns = append(turns, d)
			}
			if n == 1 {
				for _, d := range want {
					n := roundSteps * max(round, 1)
					if d == u.turn() { // its last step follows
						n--
					}
					require.Len(t, u.trial(d).steps, n)
				}
			}
			p.feed(t, func(int, schedule.Pass) OpSeconds { return OpSeconds{Experts: 1, Whole: 1 + float64(round)} })
		}
	}
	require.Equal(t, []int{1, 4, 4, 1, 1, 4}, turns[:6], "the order rotates")
	require.Equal(t, []int{1, 2, 4, 2, 4, 1}, turns[2*roundSteps:2*roundSteps+6], "the order rotates")
	require.True(t, u.decided)
	require.Equal(t, [2]int{1, 1}, u.degree)
	require.Equal(t, 2*roundSteps, u.profile.Timed[0].Steps)
	require.Equal(t, 3., u.profile.Timed[0].Forward.Whole, "of the last two rounds")
}

// TestTunerNoticesDrift: passes that take longer than after the choice, by more than a quarter,
// start another profile on both ranks.
func TestTunerNoticesDrift(t *testing.T) {
	p := newPair(4)
	for _, u := range p {
		u.profile.insert(DegreeSeconds{Chunks: 1, Forward: OpSeconds{Whole: 1}, Backward: OpSeconds{Whole: 1}, Slowest: 1})
		u.testing, u.from, u.steps = nil, 0, 0
		u.choose()
	}
	for check, taken := range []float64{1, 1.2, 0.9, 1.3} {
		for r, u := range p {
			u.steps += driftSteps - 1
			u.EndPass(schedule.Forward, time.Duration(taken*1e9))
			u.EndPass(schedule.Backward, time.Duration(r)*time.Second) // the other's differs
		}
		p.endStep(t)
		for r, u := range p {
			require.Equal(t, check < 3, u.decided, "check %d, rank %d", check, r)
			if check == 2 {
				u.usual /= 1.1 // of 3 by both: now 1.3 + 2.3 is more than a quarter above it
			}
		}
	}
	require.Equal(t, []int{1, 4}, p[0].testing)
	require.False(t, p[0].Timing(), "the first steps are not timed")
	require.Nil(t, p[0].Profile())
}

// chosenPair is tuners that have chosen one chunk, and have run that many steps since.
func chosenPair(steps int) pair {
	p := newPair(4)
	for _, u := range p {
		u.profile.insert(DegreeSeconds{Chunks: 1, Forward: OpSeconds{Whole: 1}, Backward: OpSeconds{Whole: 1}, Slowest: 1})
		u.testing, u.from, u.steps = nil, 0, steps
		u.choose()
	}
	return p
}

// TestDriftIsMoreThanAQuarter: times that are exactly that much longer or shorter are no drift.
func TestDriftIsMoreThanAQuarter(t *testing.T) {
	for _, of := range []struct {
		usual, taken float64 // taken by each rank
		drifts       bool
	}{{4, 2.5, false}, {4, 2.5625, true}, {5, 2, false}, {5, 1.9375, true}} {
		p := chosenPair(driftSteps)
		for _, u := range p {
			u.usual, u.taken = of.usual, of.taken
		}
		p.endStep(t)
		for _, u := range p {
			require.Equal(t, !of.drifts, u.decided, "%v", of)
		}
	}
}

// TestTunerStartsAgain after many steps, without any drift.
func TestTunerStartsAgain(t *testing.T) {
	p := chosenPair(retuneSteps)
	p.endStep(t)
	require.True(t, p[0].decided, "the last step is not over")
	p = chosenPair(retuneSteps + 1)
	p.endStep(t)
	require.False(t, p[0].decided)
	require.Equal(t, warmSteps, p[0].from)
}

// TestTunerRecordsOperations: each operation of a pass's timeline, and the whole of the pass.
func TestTunerRecordsOperations(t *testing.T) {
	u := New(Config{Ranks: 1, Most: 2})
	g := schedule.Pipeline{Pass: schedule.Backward, Chunks: 2, Background: 1, SplitBackward: true}.Graph()
	times := make([]float64, len(g.Tasks))
	for i := range times {
		times[i] = float64(1 + g.Tasks[i].Op)
	}
	line := schedule.Timeline{Graph: g, Spans: make([]schedule.Span, len(g.Tasks))}
	line.Recompute(times)
	u.Record(schedule.Backward, line) // a warm step
	u.steps = warmSteps
	u.Record(schedule.Backward, line)
	u.EndPass(schedule.Backward, 90*time.Second)
	require.Equal(t, warmSteps+1, u.steps)
	require.Equal(t, []int{1}, []int{u.trials[0].chunks})
	second := func(op schedule.Op) float64 { return float64(1 + op) }
	require.Equal(t, OpSeconds{
		Dispatch: 2 * second(schedule.Dispatch), Experts: 2 * second(schedule.Expert), Combine: 2 * second(schedule.Combine),
		Weights: 2 * second(schedule.Weights), Shared: second(schedule.Shared), Background: second(schedule.GradReduce), Collectives: 1,
		Whole: 90,
	}, u.trials[0].steps[0][schedule.Backward])
}

// TestTunerBoundsTheBackground: one collective while it times, then no more than it has found to be
// worth their time.
func TestTunerBoundsTheBackground(t *testing.T) {
	u := &Tuner{decided: true, collects: 3}
	require.Equal(t, 3, u.Background(9))
	require.Equal(t, 2, u.Background(2), "no more are ready")
	timing := New(Config{Ranks: 1, Most: 1})
	timing.steps = warmSteps
	require.Equal(t, 1, timing.Background(9))
	require.Zero(t, timing.Background(0))
}

// TestTunerChoosesTheBackgroundOfBackwardPasses, not of forward passes, which have none.
func TestTunerChoosesTheBackgroundOfBackwardPasses(t *testing.T) {
	p := &Profile{Ranks: 1, Most: 1, Timed: []DegreeSeconds{{
		Chunks: 1, Steps: 7, Slowest: 22, Forward: OpSeconds{Dispatch: 1, Experts: 8, Combine: 1, Whole: 10},
		Backward: OpSeconds{Dispatch: 1, Experts: 8, Combine: 1, Background: 2, Collectives: 1, Whole: 12},
	}}}
	require.Equal(t, 4, New(Config{Ranks: 1, Most: 1, Known: p}).Background(9))
}

// TestTunerTimesNoMoreThanTheRound: the passes of later micro-batches of its last step are not
// timed.
func TestTunerTimesNoMoreThanTheRound(t *testing.T) {
	u := New(Config{Comm: failing{nil}, Ranks: 1, Most: 2})
	u.steps = warmSteps + 2*roundSteps - 1
	require.True(t, u.Timing())
	u.EndPass(schedule.Backward, time.Second)
	require.False(t, u.Timing())
	require.Equal(t, 1, u.Chunks(schedule.Forward))
}

// TestTunerOverlapsWeights if both they and the combine take long enough.
func TestTunerOverlapsWeights(t *testing.T) {
	for combine, want := range map[float64]bool{0: false, 1e-4: false, worthGoroutine: false, 1e-3: true} {
		one := OpSeconds{Experts: 1e-3, Weights: 1e-3, Combine: combine, Whole: 4e-3}
		most := one
		most.Whole = 5e-3
		u := New(Config{Ranks: 2, Most: 4, Known: profileOf(4, map[int]OpSeconds{1: one, 4: most})})
		require.Equal(t, want, u.OverlapsWeights(), "combine takes %v s", combine)
		require.Equal(t, 1, u.Chunks(schedule.Forward))
	}
}

// failing is a group whose sums fail.
type failing struct{ err error }

func (f failing) AllReduce(context.Context, []float32) error { return f.err }

// TestTunerReportsErrors of the sums over ranks.
func TestTunerReportsErrors(t *testing.T) {
	broken := errors.New("cable cut")
	u := New(Config{Comm: failing{broken}, Ranks: 1, Most: 1})
	for u.steps < warmSteps+roundSteps {
		u.EndPass(schedule.Backward, time.Second)
	}
	err := u.EndStep(t.Context())
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "choosing the number of chunks")
	u.testing, u.from, u.steps, u.decided = nil, 0, driftSteps, true
	require.ErrorContains(t, u.EndStep(t.Context()), "summing the time of passes")
}

// ExampleNew tunes one rank, whose experts take as long as its links, with up to four chunks.
func ExampleNew() {
	tuner := New(Config{Comm: failing{nil}, Ranks: 1, Most: 4})
	for tuner.Profile() == nil {
		for _, pass := range []schedule.Pass{schedule.Forward, schedule.Backward} {
			n := tuner.Chunks(pass)
			line := run(pass, n)
			tuner.Record(pass, line)
			tuner.EndPass(pass, time.Duration(line.Makespan()*1e9))
		}
		if err := tuner.EndStep(context.Background()); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(tuner.Chunks(schedule.Forward), "chunks,", tuner.Predicted().Round(time.Millisecond), "for both passes")
	// Output: 4 chunks, 20.4s for both passes
}

// run stands for a pass of a layer.
func run(pass schedule.Pass, chunks int) schedule.Timeline {
	g := schedule.Pipeline{Pass: pass, Chunks: chunks}.Graph()
	for i := range g.Tasks {
		g.Tasks[i].Work = schedule.Work{Starts: 1, Size: 1 / float64(chunks)}
	}
	return schedule.Simulate(g, &schedule.Costs{
		schedule.Dispatch: {Alpha: 0.1, Beta: 4}, schedule.Expert: {Beta: 8}, schedule.Combine: {Alpha: 0.1, Beta: 4},
	})
}
