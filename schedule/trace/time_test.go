package trace

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-moe/switchyard/schedule"
)

// drawRuns draws runs of several tracks a rank that follow each other closely, as the layers of a
// step do, with times in fractions of a nanosecond.
func drawRuns(t *rapid.T) []Track {
	graph := &schedule.Graph{Tasks: []schedule.Task{{Op: schedule.Dispatch, Resource: schedule.Inter}, {Op: schedule.Expert}, {Op: schedule.Dense}, {Op: schedule.Combine, Resource: schedule.Inter, After: []int{1}}}}
	seconds := rapid.Float64Range(0, 3e-6)
	var tracks []Track
	for rank := range 2 {
		begin := time.Unix(1_700_000_000, 0)
		for range rapid.IntRange(1, 20).Draw(t, "tracks") {
			line := schedule.Timeline{Graph: graph, Begin: begin, Spans: make([]schedule.Span, len(graph.Tasks))}
			var free [schedule.Resources]float64
			for i := range graph.Tasks {
				resource := graph.Tasks[i].Resource
				start := free[resource] + seconds.Draw(t, "pause")*float64(rapid.IntRange(0, 1).Draw(t, "pauses"))
				free[resource] = start + seconds.Draw(t, "takes")
				line.Spans[i] = schedule.Span{Start: start, End: free[resource]}
			}
			tracks = append(tracks, Track{Rank: rank, Line: line})
			// The time of day may be some nanoseconds behind the clock that spans go by.
			begin = begin.Add(time.Duration(math.Floor(line.Makespan()*1e9)) - time.Duration(rapid.IntRange(0, 20).Draw(t, "slip")))
		}
	}
	return tracks
}

// TestTraceSlicesDoNotOverlap for readers that turn a start and a duration into nanoseconds apart,
// whichever way.
func TestTraceSlicesDoNotOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tracks := drawRuns(t)
		want := 0
		for i := range tracks {
			for j := range tracks[i].Line.Spans {
				if ran(&tracks[i], j) {
					want++
				}
			}
		}
		for name, read := range map[string]func(float64) float64{"rounded": math.Round, "cut off": math.Trunc} {
			require.Equal(t, want, slicesKept(t, traced(t, tracks), read), name)
		}
	})
}

// slicesKept counts what a reader keeps that drops each slice that begins before the one before it
// has ended.
func slicesKept(t require.TestingT, events []traceEvent, read func(float64) float64) int {
	type slice struct{ start, end float64 }
	threads := map[[2]int][]slice{}
	for _, e := range events {
		if e.Phase == "X" {
			start, dur := e.Time*1000, *e.Dur*1000
			require.Less(t, math.Abs(start-math.Round(start))+math.Abs(dur-math.Round(dur)), 1e-3, "whole nanoseconds")
			at := [2]int{e.Rank, e.Thread}
			threads[at] = append(threads[at], slice{read(start), read(start) + read(dur)})
		}
	}
	kept := 0
	for _, all := range threads {
		slices.SortStableFunc(all, func(a, b slice) int { return int(a.start - b.start) })
		last := 0.
		for _, s := range all {
			if s.start >= last {
				kept, last = kept+1, s.end
			}
		}
	}
	return kept
}

// TestMicros: what is written for a nanosecond is read as that nanosecond, in whatever way it is
// turned back.
func TestMicros(t *testing.T) {
	check := func(t require.TestingT, ns int64) {
		text, err := json.Marshal(micros(ns))
		require.NoError(t, err)
		var us float64
		require.NoError(t, json.Unmarshal(text, &us))
		require.Equal(t, ns, int64(us*1000))
		require.Equal(t, ns, int64(math.Round(us*1000)))
	}
	for ns := range int64(5000) {
		check(t, ns)
	}
	rapid.Check(t, func(t *rapid.T) { check(t, rapid.Int64Range(0, int64(limit)).Draw(t, "ns")) })
}

// TestTraceRefusesImpossibleTimes.
func TestTraceRefusesImpossibleTimes(t *testing.T) {
	g := &schedule.Graph{Tasks: []schedule.Task{{Op: schedule.Expert}}}
	for _, s := range []schedule.Span{{Start: 0, End: math.Inf(1)}, {Start: math.NaN(), End: 1}, {Start: 0, End: math.NaN()}, {Start: 2, End: 1}, {Start: -1, End: 1}, {Start: 0, End: 1e18}, {Start: 0, End: limit / 1e9}} {
		err := WriteJSON(&brokenPipe{1 << 20}, []Track{{Rank: 3, Line: schedule.Timeline{Graph: g, Spans: []schedule.Span{s}}}})
		require.ErrorContains(t, err, "rank 3: expert")
	}
	far := []Track{{Line: schedule.Timeline{Graph: g, Spans: []schedule.Span{{Start: 0, End: 1}}}}, {Line: schedule.Timeline{Graph: g, Begin: time.Now(), Spans: []schedule.Span{{Start: 0, End: 1}}}}}
	require.ErrorContains(t, WriteJSON(&brokenPipe{1 << 20}, far), "after the first")
	late := []Track{{Line: schedule.Timeline{Graph: g, Spans: []schedule.Span{{End: 1}}}}, {Rank: 3, Line: schedule.Timeline{Graph: g, Begin: time.Time{}.Add(2500 * time.Millisecond), Spans: []schedule.Span{{Start: 2, End: 1}}}}}
	require.ErrorContains(t, WriteJSON(&brokenPipe{1 << 20}, late), "rank 3: expert 0.0 ran from 2 s to 1 s of a track that began 2.5 s after the first; want times in order and within 9.007199254740993e+06 s")
}

// TestClockErrorIsAMicrosecond: slices that overlap by that much are moved apart, by more are not.
func TestClockErrorIsAMicrosecond(t *testing.T) {
	g := &schedule.Graph{Tasks: []schedule.Task{{Op: schedule.Expert}, {Op: schedule.Dense}}}
	for start, want := range map[float64]float64{5000: 5, 4000: 5, 3999: 3.999, 6000: 6} { // ns, µs
		var at []float64
		line := schedule.Timeline{Graph: g, Spans: []schedule.Span{{End: 5000e-9}, {Start: start * 1e-9, End: 9000e-9}}}
		for _, e := range traced(t, []Track{{Line: line}}) {
			if e.Phase == "X" {
				at = append(at, e.Time)
			}
		}
		require.Equal(t, []float64{0, want}, at)
	}
}
