package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/schedule"
	"pgregory.net/rapid"
)

// drawGraph draws a graph of tasks of all kinds, each of which waits for some of those before it.
func drawGraph(t *rapid.T) *schedule.Graph {
	g := &schedule.Graph{Tasks: make([]schedule.Task, rapid.IntRange(0, 40).Draw(t, "tasks"))}
	for i := range g.Tasks {
		op := schedule.Op(rapid.IntRange(0, schedule.Ops-1).Draw(t, "op"))
		g.Tasks[i] = schedule.Task{
			Op: op, Resource: op.Resource(), Pass: schedule.Pass(rapid.IntRange(0, 1).Draw(t, "pass")),
			Chunk: rapid.IntRange(0, 9).Draw(t, "chunk"), Work: schedule.Work{Starts: 1, Size: rapid.Float64Range(0, 8).Draw(t, "size")},
		}
		if i > 0 {
			g.Tasks[i].After = rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 0, min(i, 3), rapid.ID).Draw(t, "after")
		}
	}
	return g
}

// secondPerUnit makes one start cost nothing and a unit of size one second.
func secondPerUnit() *schedule.Costs {
	var c schedule.Costs
	for op := range c {
		c[op].Beta = 1
	}
	return &c
}

// drawTracks simulates some graph for some ranks whose clocks disagree.
func drawTracks(t *rapid.T) []Track {
	line := schedule.Simulate(drawGraph(t), secondPerUnit())
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tracks := make([]Track, rapid.IntRange(1, 3).Draw(t, "tracks"))
	for i := range tracks {
		tracks[i] = Track{Rank: i, Ahead: time.Duration(rapid.IntRange(-5, 5).Draw(t, "ahead")) * time.Second, Line: line}
		tracks[i].Line.Begin = now.Add(tracks[i].Ahead + time.Duration(i)*time.Millisecond)
	}
	return tracks
}

func traced(t require.TestingT, tracks []Track) []traceEvent {
	var b bytes.Buffer
	require.NoError(t, WriteJSON(&b, tracks))
	var file struct {
		DisplayTimeUnit string       `json:"displayTimeUnit"`
		TraceEvents     []traceEvent `json:"traceEvents"`
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &file))
	require.Equal(t, "ms", file.DisplayTimeUnit)
	return file.TraceEvents
}

// TestTraceShowsEveryTask once, when it ran by the common clock, with arrows that begin and end
// inside the tasks they join.
func TestTraceShowsEveryTask(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tracks := drawTracks(t)
		events := traced(t, tracks)
		type row struct{ rank, thread int }
		slices, starts, names := map[row][]traceEvent{}, map[int]traceEvent{}, 0
		ran := 0
		for _, e := range events {
			switch at := (row{e.Rank, e.Thread}); e.Phase {
			case "M":
				names++
			case "X":
				ran++
				slices[at] = append(slices[at], e)
			case "s":
				starts[e.ID] = e
			}
		}
		want := 0
		for _, k := range tracks {
			for _, s := range k.Line.Spans {
				if s != (schedule.Span{}) {
					want++
				}
			}
		}
		require.Equal(t, want, ran)
		require.Equal(t, len(tracks)*(1+schedule.Resources), names)
		inside := func(e traceEvent) bool {
			for _, s := range slices[row{e.Rank, e.Thread}] {
				if e.Time >= s.Time-1e-3 && e.Time <= s.Time+*s.Dur+1e-3 {
					return true
				}
			}
			return false
		}
		for _, e := range events {
			if e.Phase == "f" {
				s, ok := starts[e.ID]
				require.True(t, ok)
				require.LessOrEqual(t, s.Time, e.Time+1e-3, "an arrow points forward")
				if s.Name == "sent" {
					require.NotEqual(t, s.Rank, e.Rank)
					require.Equal(t, s.Thread, e.Thread)
				} else {
					require.Equal(t, s.Rank, e.Rank)
					require.NotEqual(t, s.Thread, e.Thread)
				}
				require.True(t, inside(s) && inside(e))
				delete(starts, e.ID)
			}
		}
		require.Empty(t, starts, "arrows without an end")
	})
}

// TestTraceAlignsClocks: rank 1 began a millisecond after rank 0, by whatever its clock says.
func TestTraceAlignsClocks(t *testing.T) {
	line := schedule.Simulate(&schedule.Graph{Tasks: []schedule.Task{{Op: schedule.Expert, Work: schedule.Work{Starts: 1, Size: 2}}}}, secondPerUnit())
	now := time.Now()
	tracks := []Track{{Rank: 0, Line: line}, {Rank: 1, Ahead: -3 * time.Hour, Line: line}}
	tracks[0].Line.Begin, tracks[1].Line.Begin = now, now.Add(-3*time.Hour+time.Millisecond)
	var at []float64
	for _, e := range traced(t, tracks) {
		if e.Phase == "X" {
			at = append(at, e.Time)
			require.InDelta(t, 2e6, *e.Dur, 1e-6)
		}
	}
	neartest.Equal(t, []float64{0, 1000}, at, 1e-6)
	require.Empty(t, traced(t, nil))
}

// TestTraceShowsWhoWasWaitedFor: an arrow goes from the rank that began an exchange last to the
// others' ends, and each stream has resources of its own.
func TestTraceShowsWhoWasWaitedFor(t *testing.T) {
	g := &schedule.Graph{Tasks: []schedule.Task{{Op: schedule.Dispatch, Resource: schedule.Inter}, {Op: schedule.Expert}}}
	now := time.Now()
	var tracks []Track
	for pass := range 2 { // rank 1 is late in the first exchange, rank 2 in the second
		for rank := range 3 {
			start := 0.
			if rank == pass+1 {
				start = 3
			}
			tracks = append(tracks, Track{Rank: rank, Line: schedule.Timeline{Graph: g, Begin: now.Add(time.Duration(pass) * 10 * time.Second), Spans: []schedule.Span{{Start: start, End: 4}, {Start: 4, End: 5}}}})
		}
	}
	tracks = append(tracks, Track{Rank: 0, Stream: 1, Line: schedule.Timeline{Graph: g, Begin: now, Spans: []schedule.Span{{Start: 0, End: 4}, {Start: 4, End: 5}}}})
	var from, to []traceEvent
	streams := map[int]bool{}
	for _, e := range traced(t, tracks) {
		if e.Phase == "X" && e.Rank == 0 {
			streams[e.Thread/schedule.Resources] = true
		}
		if e.Name == "sent" && e.Phase == "s" {
			from = append(from, e)
		} else if e.Name == "sent" {
			to = append(to, e)
		}
	}
	require.Equal(t, map[int]bool{0: true, 1: true}, streams)
	require.Len(t, from, 4, "the second stream's exchange has no others")
	for i, e := range from {
		late := 1 + i/2
		require.Equal(t, late, e.Rank)
		require.NotEqual(t, late, to[i].Rank)
		require.InDelta(t, float64(10*(i/2)+3)*1e6, e.Time, 2e3)
		require.InDelta(t, float64(10*(i/2)+4)*1e6, to[i].Time, 5e3)
	}
}

// TestAnArrowNeedsAShareThatWaited: a share that ended before the last rank began waited for
// nothing; one that ended later, by more than a clock can tell, did.
func TestAnArrowNeedsAShareThatWaited(t *testing.T) {
	g := &schedule.Graph{Tasks: []schedule.Task{{Op: schedule.Dispatch, Resource: schedule.Inter}}}
	for end, want := range map[float64]int{2999e-9: 0, 3000e-9: 0, 3002e-9: 0, 3003e-9: 2, 3010e-9: 2} {
		tracks := []Track{
			{Rank: 0, Line: schedule.Timeline{Graph: g, Spans: []schedule.Span{{Start: 0, End: end}}}},
			{Rank: 1, Line: schedule.Timeline{Graph: g, Spans: []schedule.Span{{Start: 3000e-9, End: 3010e-9}}}},
		}
		arrows := 0
		for _, e := range traced(t, tracks) {
			if e.Name == "sent" {
				arrows++
			}
		}
		require.Equal(t, want, arrows, "%v", end)
	}
}

// TestOfSeveralThatWereLateTheFirstIsNamed.
func TestOfSeveralThatWereLateTheFirstIsNamed(t *testing.T) {
	g := &schedule.Graph{Tasks: []schedule.Task{{Op: schedule.Dispatch, Resource: schedule.Inter}}}
	var tracks []Track
	for rank, start := range []float64{0, 3, 3} {
		tracks = append(tracks, Track{Rank: rank, Line: schedule.Timeline{Graph: g, Spans: []schedule.Span{{Start: start, End: 4}}}})
	}
	for _, e := range traced(t, tracks) {
		if e.Name == "sent" && e.Phase == "s" {
			require.Equal(t, 1, e.Rank)
		}
	}
}

func TestTraceLeavesOutWhatNeverRan(t *testing.T) {
	g := &schedule.Graph{Tasks: []schedule.Task{{Op: schedule.Expert}, {Op: schedule.Combine, Resource: schedule.Inter, After: []int{0}}}}
	events := traced(t, []Track{{Line: schedule.Timeline{Graph: g, Spans: []schedule.Span{{Start: 0, End: 1}, {}}}}})
	require.Len(t, events, 1+schedule.Resources+1)
}

// brokenPipe takes some bytes and then none.
type brokenPipe struct{ left int }

var errPipe = errors.New("pipe broke")

func (p *brokenPipe) Write(b []byte) (int, error) {
	if p.left -= len(b); p.left < 0 {
		return 0, errPipe
	}
	return len(b), nil
}

func TestWritersReportErrors(t *testing.T) {
	g := &schedule.Graph{}
	for i := range 200 {
		g.Tasks = append(g.Tasks, schedule.Task{Op: schedule.Op(i % schedule.Ops), Resource: schedule.Resource(i % schedule.Resources), Work: schedule.Work{Starts: 1, Size: 1}})
	}
	tracks := []Track{{Line: schedule.Simulate(g, secondPerUnit())}}
	for _, left := range []int{0, 5000} {
		require.ErrorIs(t, WriteJSON(&brokenPipe{left}, tracks), errPipe)
		require.ErrorIs(t, WriteSVG(&brokenPipe{left}, "", tracks), errPipe)
	}
	g.Tasks[0].Work.Size = math.Inf(1)
	require.ErrorContains(t, WriteJSON(io.Discard, tracks), "unsupported value", "JSON has no infinity")
	tracks[0].Line.Spans[0].End = math.Inf(1)
	require.Error(t, WriteJSON(io.Discard, tracks))
}
