package autotune

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/schedule"
)

// profileOf returns a profile whose numbers of chunks took these times in both passes.
func profileOf(most int, of map[int]OpSeconds) *Profile {
	p := &Profile{Ranks: 2, Most: most}
	for d, s := range of {
		p.insert(DegreeSeconds{Chunks: d, Steps: 5, Forward: s, Backward: s, Slowest: 2 * s.Whole})
	}
	return p
}

// truth is how long passes take in an invented world: operations that cost α for each chunk, and
// the overhead of overlap.
type truth struct{ dispatch, experts, combine, alpha, always, overlapping float64 }

// seconds returns the time of a pass in a number of chunks.
func (w truth) seconds(chunks int) OpSeconds {
	n := float64(chunks)
	s := OpSeconds{Dispatch: w.dispatch + n*w.alpha, Experts: w.experts, Combine: w.combine + n*w.alpha}
	m := profileOf(chunks, map[int]OpSeconds{chunks: s}).model(schedule.Forward)
	for _, op := range []schedule.Op{schedule.Dispatch, schedule.Combine} {
		m.costs[op].Alpha = w.alpha
		m.costs[op].Beta -= n * w.alpha
	}
	s.Whole = m.makespan(chunks, 0) + w.always + w.overlapping*(1-1/n)
	return s
}

// TestModelPredictsWhatWasNotTimed: from one chunk and the most it predicts a world that is as it
// assumes, to the last digits, and its fit is that world's.
func TestModelPredictsWhatWasNotTimed(t *testing.T) {
	w := truth{dispatch: 4, experts: 8, combine: 4, alpha: 0.25, always: 0.5, overlapping: 0.3}
	p := profileOf(8, map[int]OpSeconds{1: w.seconds(1), 8: w.seconds(8)})
	m := p.model(schedule.Backward)
	for _, d := range []int{1, 2, 4, 8} {
		require.InDelta(t, w.seconds(d).Whole, m.time(d, 0), 1e-9, "%d chunks", d)
	}
	p.insert(DegreeSeconds{Chunks: 2, Steps: 5, Forward: w.seconds(2), Backward: w.seconds(2), Slowest: 1})
	line, err := p.Fit(schedule.Forward, schedule.Dispatch)
	require.NoError(t, err)
	require.InDelta(t, w.alpha, line.Alpha, 1e-9)
	require.InDelta(t, w.dispatch, line.Beta, 1e-9)
	require.InDelta(t, 1, line.R2, 1e-9)
	require.Equal(t, 3, line.Samples)
	seen := w.seconds(4)
	seen.Whole += 3 // once timed, the measured time counts
	p.insert(DegreeSeconds{Chunks: 4, Steps: 5, Forward: seen, Backward: seen, Slowest: 1})
	require.InDelta(t, seen.Whole, p.model(schedule.Forward).time(4, 0), 1e-9)
	near := profileOf(8, map[int]OpSeconds{1: w.seconds(1), 2: w.seconds(2), 8: w.seconds(8)}).model(schedule.Forward)
	require.InDelta(t, w.seconds(4).Whole, near.time(4, 0), 1e-9, "between two and eight chunks")
	_, err = p.Fit(schedule.Forward, schedule.Shared)
	require.ErrorContains(t, err, "does not run in chunks")
	_, err = profileOf(1, map[int]OpSeconds{1: w.seconds(1)}).Fit(schedule.Forward, schedule.Expert)
	require.ErrorIs(t, err, schedule.ErrFewSizes)
}

// TestCandidates: a number of chunks is out if it is predicted to be slower than the fastest by
// more than a tenth, or was timed and found slower by more than a twentieth.
func TestCandidates(t *testing.T) {
	balanced := truth{dispatch: 4, experts: 8, combine: 4}
	require.Equal(t, []int{8}, profileOf(8, map[int]OpSeconds{1: balanced.seconds(1), 8: balanced.seconds(8)}).candidates(),
		"9 seconds in 8 chunks, 10 in 4, 12 in 2, 16 in 1")
	loaded := truth{dispatch: 4, experts: 8, combine: 4, always: 1}
	require.Equal(t, []int{4, 8}, profileOf(8, map[int]OpSeconds{1: loaded.seconds(1), 8: loaded.seconds(8)}).candidates(),
		"11 and 10 are alike, as 4 chunks were not timed")
	expensive := truth{dispatch: 4, experts: 8, combine: 4, alpha: 2}
	p := profileOf(8, map[int]OpSeconds{1: expensive.seconds(1), 8: expensive.seconds(8)})
	require.Equal(t, []int{2}, p.candidates(), "chunks are so expensive that two are enough")
	nothing := truth{experts: 2}
	require.Equal(t, []int{1, 2, 4, 8}, profileOf(8, map[int]OpSeconds{1: nothing.seconds(1), 8: nothing.seconds(8)}).candidates(),
		"there is nothing to overlap, and chunks cost nothing")
	timed := profileOf(8, map[int]OpSeconds{1: {Whole: 1}, 2: {Whole: 1.06}, 4: {Whole: 1.04}, 8: {Whole: 1.2}})
	require.Equal(t, []int{1, 4}, timed.candidates())
	timed.Timed[1].Backward.Whole = 0.9
	require.Equal(t, []int{1, 2, 4}, timed.candidates(), "two chunks may be the best in backward passes")
}

// TestBestDegree: one chunk unless others are faster by more than 2 %; of those the fastest, and
// only what was timed.
func TestBestDegree(t *testing.T) {
	for _, of := range []struct {
		whole map[int]float64
		want  int
	}{
		{map[int]float64{1: 1, 8: 0.99}, 1},
		{map[int]float64{1: 1, 8: 0.97}, 8},
		{map[int]float64{1: 1, 4: 0.96, 8: 0.97}, 4},
		{map[int]float64{1: 1, 4: 1.2, 8: 1.3}, 1},
		{map[int]float64{1: 1, 4: 0.9, 8: 0.9}, 4},
	} {
		seen := map[int]OpSeconds{}
		for d, whole := range of.whole {
			seen[d] = OpSeconds{Experts: 0.1, Whole: whole}
		}
		require.Equal(t, of.want, profileOf(8, seen).model(schedule.Forward).bestDegree(), "%v", of.whole)
	}
}

// TestBackgroundIsLeftOutOfTheChoice: timed backward passes run a background collective, whose time
// does not count for the number of chunks.
func TestBackgroundIsLeftOutOfTheChoice(t *testing.T) {
	// Half a second of routing, and three of background, of which the experts hide two.
	one := OpSeconds{Dispatch: 1, Experts: 2, Combine: 1, Background: 3, Collectives: 1, Whole: 5.5}
	many := OpSeconds{Dispatch: 1, Experts: 2, Combine: 1, Background: 3, Collectives: 1, Whole: 5.1}
	m := profileOf(4, map[int]OpSeconds{1: one, 4: many}).model(schedule.Backward)
	require.InDelta(t, one.Whole, m.time(1, 1), 1e-9)
	require.InDelta(t, many.Whole, m.time(4, 1), 1e-9)
	always, most := one.Whole-m.makespan(1, 1), many.Whole-m.makespan(4, 1)
	require.InDelta(t, m.makespan(2, 0)+always+2./3*(most-always), m.time(2, 0), 1e-9)
}

// TestModelOfEachPass: each pass is predicted by its own times, a backward pass with the gradients
// of weights beside the combine.
func TestModelOfEachPass(t *testing.T) {
	p := &Profile{Ranks: 2, Most: 8}
	forward := OpSeconds{Dispatch: 1, Experts: 2, Combine: 1, Whole: 4}
	backward := OpSeconds{Dispatch: 1, Experts: 2, Weights: 3, Combine: 1, Whole: 7}
	for chunks, faster := range map[int]float64{1: 0, 8: 1} {
		f, b := forward, backward
		f.Whole += faster // slower in eight chunks
		b.Whole -= faster
		p.insert(DegreeSeconds{Chunks: chunks, Steps: 1, Forward: f, Backward: b, Slowest: 11})
	}
	require.InDelta(t, 1+2+1, p.model(schedule.Forward).makespan(1, 0), 1e-9)
	require.InDelta(t, 1+2+3, p.model(schedule.Backward).makespan(1, 0), 1e-9, "the combine is hidden")
	require.Equal(t, 1, p.model(schedule.Forward).bestDegree())
	require.Equal(t, 8, p.model(schedule.Backward).bestDegree())
}

// TestBackgroundFillsTheGap: as many collectives run as end before the first answers are there;
// none if the link takes the longest time.
func TestBackgroundFillsTheGap(t *testing.T) {
	best := func(s OpSeconds) int {
		return profileOf(1, map[int]OpSeconds{1: s}).model(schedule.Backward).bestBackground(1)
	}
	require.Equal(t, 4, best(OpSeconds{Dispatch: 1, Experts: 8, Combine: 1, Background: 2, Collectives: 1}), "8 seconds of experts in one chunk, 2 each")
	require.Equal(t, 4, best(OpSeconds{Dispatch: 1, Experts: 8, Combine: 1, Background: 8, Collectives: 4}), "2 seconds each")
	require.Equal(t, 1, best(OpSeconds{Dispatch: 8, Experts: 1, Combine: 8, Background: 2, Collectives: 1}), "half of one is hidden")
	require.Zero(t, best(OpSeconds{Dispatch: 8, Combine: 8, Background: 2, Collectives: 1}), "the link is never idle")
	require.Zero(t, best(OpSeconds{Dispatch: 1, Experts: 8}), "there are none")
}

// TestBackgroundIsBounded however short collectives are and however long the link is idle.
func TestBackgroundIsBounded(t *testing.T) {
	p := profileOf(1, map[int]OpSeconds{1: {Dispatch: 1, Experts: 1000, Combine: 1, Background: 1e-3, Collectives: 1, Whole: 1002}})
	require.Equal(t, 64, p.model(schedule.Backward).bestBackground(1))
}
