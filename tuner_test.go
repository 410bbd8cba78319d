package switchyard

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/schedule"
)

// profileOf is one whose degrees took these times in both passes.
func profileOf(most int, of map[int]OpSeconds) *OverlapProfile {
	p := &OverlapProfile{Ranks: 2, Most: most}
	for d, s := range of {
		p.take(DegreeSeconds{Parts: d, Steps: 5, Forward: s, Backward: s, Slowest: 2 * s.Whole})
	}
	return p
}

// truth is what passes take in a made-up world: operations that cost α a part, and what overlap costs beside.
type truth struct{ dispatch, experts, combine, alpha, always, overlapping float64 }

// seconds is what a pass in so many parts takes there.
func (w truth) seconds(parts int) OpSeconds {
	n := float64(parts)
	s := OpSeconds{Dispatch: w.dispatch + n*w.alpha, Experts: w.experts, Combine: w.combine + n*w.alpha}
	p := profileOf(parts, map[int]OpSeconds{parts: s}).profiled(schedule.Forward)
	for _, op := range []schedule.Op{schedule.Dispatch, schedule.Combine} {
		p.costs[op].Alpha = w.alpha
		p.costs[op].Beta -= n * w.alpha
	}
	s.Whole = p.makespan(parts, 0) + w.always + w.overlapping*(1-1/n)
	return s
}

// TestModelForetellsWhatWasNotTimed: from one part and most it foretells a world that is as the model has it, to the last digits, and what it fits is that
// world's.
func TestModelForetellsWhatWasNotTimed(t *testing.T) {
	w := truth{dispatch: 4, experts: 8, combine: 4, alpha: 0.25, always: 0.5, overlapping: 0.3}
	p := profileOf(8, map[int]OpSeconds{1: w.seconds(1), 8: w.seconds(8)})
	of := p.profiled(schedule.Backward)
	for _, d := range []int{1, 2, 4, 8} {
		require.InDelta(t, w.seconds(d).Whole, of.time(d, 0), 1e-9, "%d parts", d)
	}
	p.take(DegreeSeconds{Parts: 2, Steps: 5, Forward: w.seconds(2), Backward: w.seconds(2), Slowest: 1})
	line, err := p.Fit(schedule.Forward, schedule.Dispatch)
	require.NoError(t, err)
	require.InDelta(t, w.alpha, line.Alpha, 1e-9)
	require.InDelta(t, w.dispatch, line.Beta, 1e-9)
	require.InDelta(t, 1, line.R2, 1e-9)
	require.Equal(t, 3, line.Samples)
	seen := w.seconds(4)
	seen.Whole += 3 // now that it was timed it counts as it was seen
	p.take(DegreeSeconds{Parts: 4, Steps: 5, Forward: seen, Backward: seen, Slowest: 1})
	require.InDelta(t, seen.Whole, p.profiled(schedule.Forward).time(4, 0), 1e-9)
	_, err = p.Fit(schedule.Forward, schedule.Shared)
	require.ErrorContains(t, err, "is no operation in parts")
	_, err = profileOf(1, map[int]OpSeconds{1: w.seconds(1)}).Fit(schedule.Forward, schedule.Expert)
	require.ErrorIs(t, err, schedule.ErrFewSizes)
}

// TestContenders: what is foretold to be slower than the fastest by more than a tenth is out, and so is what was timed and found slower by more than a twentieth.
func TestContenders(t *testing.T) {
	balanced := truth{dispatch: 4, experts: 8, combine: 4}
	require.Equal(t, []int{8}, profileOf(8, map[int]OpSeconds{1: balanced.seconds(1), 8: balanced.seconds(8)}).contenders(), "9 seconds in 8 parts, 10 in 4, 12 in 2, 16 in 1")
	loaded := truth{dispatch: 4, experts: 8, combine: 4, always: 1}
	require.Equal(t, []int{4, 8}, profileOf(8, map[int]OpSeconds{1: loaded.seconds(1), 8: loaded.seconds(8)}).contenders(), "11 and 10 are alike, as 4 parts were not timed")
	dear := truth{dispatch: 4, experts: 8, combine: 4, alpha: 2}
	p := profileOf(8, map[int]OpSeconds{1: dear.seconds(1), 8: dear.seconds(8)})
	require.Equal(t, []int{2}, p.contenders(), "parts are so dear that two are enough")
	nothing := truth{experts: 2}
	require.Equal(t, []int{1, 2, 4, 8}, profileOf(8, map[int]OpSeconds{1: nothing.seconds(1), 8: nothing.seconds(8)}).contenders(), "there is nothing to overlap, and parts cost nothing")
	timed := profileOf(8, map[int]OpSeconds{1: {Whole: 1}, 2: {Whole: 1.06}, 4: {Whole: 1.04}, 8: {Whole: 1.2}})
	require.Equal(t, []int{1, 4}, timed.contenders())
	timed.Timed[1].Backward.Whole = 0.9
	require.Equal(t, []int{1, 2, 4}, timed.contenders(), "two parts may be the best in backward passes")
}

// TestBestDegree: one part unless others are faster by more than 2 %; of those the fastest, and only what was timed.
func TestBestDegree(t *testing.T) {
	for _, of := range []struct {
		whole map[int]float64
		want  int
	}{
		{map[int]float64{1: 1, 8: 0.99}, 1},
		{map[int]float64{1: 1, 8: 0.97}, 8},
		{map[int]float64{1: 1, 4: 0.96, 8: 0.97}, 4},
		{map[int]float64{1: 1, 4: 1.2, 8: 1.3}, 1},
	} {
		seen := map[int]OpSeconds{}
		for d, whole := range of.whole {
			seen[d] = OpSeconds{Experts: 0.1, Whole: whole}
		}
		require.Equal(t, of.want, profileOf(8, seen).profiled(schedule.Forward).bestDegree(), "%v", of.whole)
	}
}

// TestBackgroundIsLeftOutOfTheChoice: profiled backward passes run a chunk of other work, which is none of the degree's.
func TestBackgroundIsLeftOutOfTheChoice(t *testing.T) {
	one := OpSeconds{Dispatch: 1, Experts: 2, Combine: 1, Background: 0.5, Chunks: 1, Whole: 5} // half a second of routing, half of background
	many := OpSeconds{Dispatch: 1, Experts: 2, Combine: 1, Background: 0.5, Chunks: 1, Whole: 3.6}
	p := profileOf(4, map[int]OpSeconds{1: one, 4: many}).profiled(schedule.Backward)
	require.InDelta(t, one.Whole, p.time(1, 1), 1e-9)
	require.InDelta(t, many.Whole, p.time(4, 1), 1e-9)
	always, most := one.Whole-p.makespan(1, 1), many.Whole-p.makespan(4, 1)
	require.InDelta(t, p.makespan(2, 0)+always+2./3*(most-always), p.time(2, 0), 1e-9)
}

// feed tells a tuner what a step took.
func feed(u *tuner, forward, backward OpSeconds) {
	for pass, s := range [2]OpSeconds{forward, backward} {
		if to := u.sample(schedule.Pass(pass)); to != nil {
			*to = s
		}
	}
	u.steps++
}

// onAuto runs do on two ranks, each with a layer that chooses its degree of up to most.
func onAuto(t *testing.T, most int, do func(l *Layer) error) {
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := layersUnderTest()["dropless"]
		cfg.Overlap = Overlap{Auto: true, Degree: most}
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		l.tuner = newTuner(w.Size(), most, nil)
		return do(l)
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestTunerFindsTheFastest in made-up worlds, for each pass, where every rank sees times of its own and one step in five is disturbed; it times
// nothing that is foretold to be far slower, and foretells what steps take.
func TestTunerFindsTheFastest(t *testing.T) {
	for name, w := range map[string][2]truth{
		"balanced":   {{dispatch: 4, experts: 8, combine: 4}, {dispatch: 4, experts: 8, combine: 4}},
		"apart":      {{dispatch: 4, experts: 8, combine: 4, alpha: 0.2}, {dispatch: 4, experts: 16, combine: 4, alpha: 1.2, overlapping: 1}},
		"no overlap": {{experts: 8, dispatch: 0.1, combine: 0.1, overlapping: 2}, {experts: 8, dispatch: 0.1, combine: 0.1, overlapping: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			var want [2]int
			total := 0.0
			for pass, of := range w {
				least := math.Inf(1)
				for _, d := range []int{1, 2, 4, 8} {
					if s := of.seconds(d).Whole; s < least {
						least, want[pass] = s, d
					}
				}
				total += least
			}
			onAuto(t, 8, func(l *Layer) error {
				u, rank := l.tuner, float64(l.world.Rank())
				timed := map[int]int{}
				for u.steps < 200 && !u.decided {
					d := u.turn()
					timed[d]++
					var seen [2]OpSeconds
					for pass, of := range w {
						if seen[pass] = of.seconds(u.parts(schedule.Pass(pass))); u.steps%5 == 0 {
							seen[pass].Whole *= 1.5
						}
						seen[pass].Whole += 0.02 * (rank - 0.5) // the second rank is behind
					}
					feed(u, seen[0], seen[1])
					if err := u.stepped(t.Context(), l); err != nil {
						return err
					}
				}
				require.True(t, u.decided)
				require.Equal(t, want, u.degree)
				require.InDelta(t, total+0.02, u.predicted.Seconds(), 1e-5, "of the slowest rank")
				require.Equal(t, warmSteps, timed[0])
				if name == "balanced" {
					require.Zero(t, timed[2], "foretold to be a third slower than eight parts")
				}
				text, err := json.Marshal(l.OverlapProfile())
				require.NoError(t, err)
				var known OverlapProfile
				require.NoError(t, json.Unmarshal(text, &known))
				require.NoError(t, known.validate(2, 8))
				again := newTuner(2, 8, &known)
				require.Equal(t, u.degree, again.degree)
				require.Equal(t, u.predicted, again.predicted)
				return nil
			})
		})
	}
}

// TestTunerComparesWhatWasTimedInTheSameTurns: where a degree is new to a heat, all of the heat begin anew; else they add to what they have.
func TestTunerComparesWhatWasTimedInTheSameTurns(t *testing.T) {
	onAuto(t, 4, func(l *Layer) error {
		u := l.tuner
		var turns []int
		for heat, want := range [][]int{{1, 4}, {1, 2, 4}, {1, 2, 4}} {
			require.Equal(t, want, u.trying, "heat %d", heat)
			for u.turn() == 0 {
				feed(u, OpSeconds{}, OpSeconds{})
			}
			for d := u.turn(); d != 0; d = u.turn() {
				turns = append(turns, d)
				same := OpSeconds{Experts: 1, Whole: 1 + float64(heat)}
				feed(u, same, same)
			}
			for _, d := range want {
				require.Len(t, u.trial(d).steps, heatSteps*max(heat, 1))
			}
			if err := u.stepped(context.Background(), l); err != nil {
				return err
			}
		}
		require.Equal(t, []int{1, 4, 4, 1, 1, 4}, turns[:6], "each turn begins one further")
		require.Equal(t, []int{1, 2, 4, 2, 4, 1}, turns[2*heatSteps:2*heatSteps+6], "each turn begins one further")
		require.True(t, u.decided)
		require.Equal(t, [2]int{1, 1}, u.degree)
		require.Equal(t, 2*heatSteps, u.profile.Timed[0].Steps)
		require.Equal(t, 3., u.profile.Timed[0].Forward.Whole, "of the last two heats")
		return nil
	})
}

// TestTunerLooksAgain: passes that take longer than after the choice, by more than a quarter, bring another profile on both ranks.
func TestTunerLooksAgain(t *testing.T) {
	onAuto(t, 4, func(l *Layer) error {
		u := l.tuner
		u.profile.take(DegreeSeconds{Parts: 1, Forward: OpSeconds{Whole: 1}, Backward: OpSeconds{Whole: 1}, Slowest: 1})
		u.trying, u.from, u.steps = nil, 0, 0
		u.choose()
		for look, taken := range []float64{1, 1.2, 0.9, 1.3} {
			u.steps += lookAgain
			u.taken = taken + float64(l.world.Rank()) // the other's differs
			if err := u.stepped(t.Context(), l); err != nil {
				return err
			}
			if again := look == 3; u.decided == again {
				return fmt.Errorf("look %d: decided %v", look, u.decided)
			}
			if look == 2 {
				u.usual /= 1.1 // of 3 by both: now 1.3 + 2.3 is more than a quarter above it
			}
		}
		require.Equal(t, []int{1, 4}, u.trying)
		require.Zero(t, u.turn(), "the first steps are not timed")
		return nil
	})
}

// TestTunerFillsTheGap: as many chunks as end before the first part of the answers is there; none where the link is what takes longest.
func TestTunerFillsTheGap(t *testing.T) {
	of := func(s OpSeconds) *profiled { return profileOf(1, map[int]OpSeconds{1: s}).profiled(schedule.Backward) }
	require.Equal(t, 4, of(OpSeconds{Dispatch: 1, Experts: 8, Combine: 1, Background: 2, Chunks: 1}).bestChunks(1), "8 seconds of experts in one part, 2 a chunk")
	require.Equal(t, 1, of(OpSeconds{Dispatch: 8, Experts: 1, Combine: 8, Background: 2, Chunks: 1}).bestChunks(1), "half of one is hidden")
	require.Zero(t, of(OpSeconds{Dispatch: 8, Combine: 8, Background: 2, Chunks: 1}).bestChunks(1), "the link is never idle")
	require.Zero(t, of(OpSeconds{Dispatch: 1, Experts: 8}).bestChunks(1), "there are none")
}

// TestOverlapProfileIsValidated names what is wrong.
func TestOverlapProfileIsValidated(t *testing.T) {
	good := func() *OverlapProfile {
		return profileOf(4, map[int]OpSeconds{1: {Whole: 1}, 2: {Whole: 1}, 4: {Whole: 1}})
	}
	require.NoError(t, good().validate(2, 4))
	require.NoError(t, (*OverlapProfile)(nil).validate(2, 4))
	for want, break_ := range map[string]func(p *OverlapProfile){
		"is of 3 ranks and 4 parts, want 2 and 4": func(p *OverlapProfile) { p.Ranks = 3 },
		"has not timed 1 and 4 parts":             func(p *OverlapProfile) { p.Timed = p.Timed[1:] },
		"has 1 parts after 1":                     func(p *OverlapProfile) { p.Timed[1].Parts = 1 },
		"has NaN":                                 func(p *OverlapProfile) { p.Timed[1].Backward.Experts = math.NaN() },
		"has -1":                                  func(p *OverlapProfile) { p.Timed[2].Slowest = -1 },
		"has +Inf":                                func(p *OverlapProfile) { p.Timed[0].Forward.Dispatch = math.Inf(1) },
		"does not say what whole passes":          func(p *OverlapProfile) { p.Timed[0].Forward.Whole = 0 },
	} {
		p := good()
		break_(p)
		require.ErrorContains(t, p.validate(2, 4), want)
	}
}
