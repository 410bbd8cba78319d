package trace

import (
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/schedule"
)

// wholeSpan is when a task ran, in whole nanoseconds from the beginning of a trace.
type wholeSpan struct{ start, end int64 }

// tip is a moment just before the end, which a reader still counts as within the span.
func (s wholeSpan) tip() int64 {
	return max(s.start, s.end-max(1, (s.end-s.start)/1000))
}

// ran reports whether a track's task has run.
func ran(k *Track, task int) bool { return k.Line.Spans[task] != (schedule.Span{}) }

// wholeSpans returns the spans of all tracks in nanoseconds from when the first track began.
func wholeSpans(tracks []Track) ([][]wholeSpan, error) {
	origin := firstBegin(tracks)
	all := make([][]wholeSpan, len(tracks))
	for i := range tracks {
		k := &tracks[i]
		at := beginOf(k).Sub(origin).Nanoseconds()
		all[i] = make([]wholeSpan, len(k.Line.Spans))
		for j, s := range k.Line.Spans {
			start, end := math.Round(s.Start*1e9), math.Round(s.End*1e9)
			if !(0 <= start && start <= end && float64(at)+end < limit) {
				return nil, fmt.Errorf("trace: rank %d: %v ran from %v s to %v s of a track that began %v s after the first; "+
					"want times in order and within %v s", k.Rank, &k.Line.Graph.Tasks[j], s.Start, s.End, float64(at)/1e9, limit/1e9)
			}
			all[i][j] = wholeSpan{at + int64(start), at + int64(end)}
		}
	}
	separate(tracks, all)
	return all, nil
}

// limit is the longest trace in nanoseconds, a hundred days: a float64 of microseconds has each of
// them exactly.
const limit = float64(1 << 53)

// clockError is the nanoseconds by which two readings of a rank's clock may be in the wrong order:
// a track begins by the time of day, and its spans go by the clock that only moves forward.
const clockError = 1000

// separate moves slices of one thread apart that overlap only by the error of the clock: the second
// begins later.
func separate(tracks []Track, all [][]wholeSpan) {
	last := map[[2]int]int64{} // by rank and thread: when its latest slice ends
	for i := range tracks {
		k := &tracks[i]
		for j := range all[i] {
			if !ran(k, j) {
				continue
			}
			resource, s := [2]int{k.Rank, thread(k.Line.Graph.Tasks[j].Resource, k.Stream)}, &all[i][j]
			if end := last[resource]; s.start < end && s.start+clockError >= end {
				s.start, s.end = end, max(end, s.end)
			}
			last[resource] = max(last[resource], s.end)
		}
	}
}

// micros converts nanoseconds to microseconds such that a thousand times the result, rounded or
// truncated, is the same number of nanoseconds.
func micros(nanoseconds int64) float64 {
	us := float64(nanoseconds) / 1000
	if int64(us*1000) != nanoseconds {
		us = math.Nextafter(us, math.Inf(1))
	}
	return us
}
