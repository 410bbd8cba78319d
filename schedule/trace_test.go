package schedule

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/internal/svgtest"
	"pgregory.net/rapid"
)

// drawTracks simulates some graph for some ranks whose clocks disagree.
func drawTracks(t *rapid.T) []Track {
	layers, costs := drawLayers(t, 2), drawCosts(t)
	plan := drawPlan(t, layers)
	line := Simulate(BuildStep(layers, &plan), costs)
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
	require.NoError(t, WriteTrace(&b, tracks))
	var file struct {
		DisplayTimeUnit string       `json:"displayTimeUnit"`
		TraceEvents     []traceEvent `json:"traceEvents"`
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &file))
	require.Equal(t, "ms", file.DisplayTimeUnit)
	return file.TraceEvents
}

// TestTraceShowsEveryTask once, when it ran by the common clock, with arrows that begin and end inside the tasks they join.
func TestTraceShowsEveryTask(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tracks := drawTracks(t)
		events := traced(t, tracks)
		type lane struct{ rank, lane int }
		slices, starts, names := map[lane][]traceEvent{}, map[int]traceEvent{}, 0
		ran := 0
		for _, e := range events {
			switch at := (lane{e.Rank, e.Lane}); e.Phase {
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
				if s != (Span{}) {
					want++
				}
			}
		}
		require.Equal(t, want, ran)
		require.Equal(t, len(tracks)*(1+Lanes), names)
		inside := func(e traceEvent) bool {
			for _, s := range slices[lane{e.Rank, e.Lane}] {
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
					require.Equal(t, s.Lane, e.Lane)
				} else {
					require.Equal(t, s.Rank, e.Rank)
					require.NotEqual(t, s.Lane, e.Lane)
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
	line := Simulate(&Graph{Tasks: []Task{{Op: Expert, Work: Work{1, 2}}}}, unitCosts())
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

// TestTraceShowsWhoWasWaitedFor: an arrow goes from the rank that began an exchange last to the others' ends, and each stream has lanes of its own.
func TestTraceShowsWhoWasWaitedFor(t *testing.T) {
	g := &Graph{Tasks: []Task{{Op: Dispatch, Lane: Inter}, {Op: Expert}}}
	now := time.Now()
	var tracks []Track
	for pass := range 2 { // rank 1 is late in the first exchange, rank 2 in the second
		for rank := range 3 {
			start := 0.
			if rank == pass+1 {
				start = 3
			}
			tracks = append(tracks, Track{Rank: rank, Line: Timeline{Graph: g, Begin: now.Add(time.Duration(pass) * 10 * time.Second), Spans: []Span{{start, 4}, {4, 5}}}})
		}
	}
	tracks = append(tracks, Track{Rank: 0, Stream: 1, Line: Timeline{Graph: g, Begin: now, Spans: []Span{{0, 4}, {4, 5}}}})
	var from, to []traceEvent
	streams := map[int]bool{}
	for _, e := range traced(t, tracks) {
		if e.Phase == "X" && e.Rank == 0 {
			streams[e.Lane/Lanes] = true
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

func TestTraceLeavesOutWhatNeverRan(t *testing.T) {
	g := &Graph{Tasks: []Task{{Op: Expert}, {Op: Combine, Lane: Inter, After: []int{0}}}}
	events := traced(t, []Track{{Line: Timeline{Graph: g, Spans: []Span{{0, 1}, {}}}}})
	require.Len(t, events, 1+Lanes+1)
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
	layers := make([]Layer, 20)
	for i := range layers {
		layers[i] = whole()
	}
	tracks := []Track{{Line: Simulate(BuildStep(layers, &Plan{}), unitCosts())}}
	for _, left := range []int{0, 5000} {
		require.ErrorIs(t, WriteTrace(&brokenPipe{left}, tracks), errPipe)
		require.ErrorIs(t, WriteSVG(&brokenPipe{left}, "", tracks), errPipe)
	}
	tracks[0].Line.Spans[0].End = math.Inf(1)
	require.Error(t, WriteTrace(io.Discard, tracks), "JSON has no infinity")
}

// TestGantt reads the chart of a schedule that is known.
func TestGantt(t *testing.T) {
	g := BuildForward([]Layer{{Dense: {1, 2}, Dispatch: {1, 4}, Expert: {1, 8}, Combine: {1, 4}}}, &Plan{ForwardDegrees: []int{2}})
	line := Simulate(g, unitCosts())
	require.Equal(t, strings.Join([]string{
		"compute  d---····E-------E-------····",
		"inter    ····>--->---····<---····<---",
		"         0                       14 s",
		"         d dense, > dispatch, E expert, < combine",
		"",
	}, "\n"), line.Gantt(28))
	require.Equal(t, "         0 0 µs\n\n", strings.ReplaceAll((&Timeline{Graph: &Graph{}}).Gantt(6), "         \n", "\n"))
	require.Panics(t, func() { line.Gantt(0) })
	rapid.Check(t, func(t *rapid.T) {
		k := drawTracks(t)[0]
		width := rapid.IntRange(1, 60).Draw(t, "width")
		for row := range strings.Lines(k.Line.Gantt(width)) {
			if strings.Contains(row, "compute  ") {
				require.Len(t, []rune(strings.TrimRight(row, "\n")), 9+width)
			}
		}
	})
}

func TestFormatSeconds(t *testing.T) {
	for want, s := range map[string]float64{"0 µs": 0, "1.5 µs": 1.5e-6, "12.3 ms": 0.01234, "2 s": 2} {
		require.Equal(t, want, FormatSeconds(s))
	}
}

// TestSVG is well-formed, has a bar for each task, and takes its title as text.
func TestSVG(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tracks := drawTracks(t)
		var b bytes.Buffer
		require.NoError(t, WriteSVG(&b, `a <b> & "c"`, tracks))
		svgtest.Readable(t, b.Bytes(), "timeline")
		require.False(t, strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf"))
		bars, text := 0, ""
		for d := xml.NewDecoder(&b); ; {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				require.NoError(t, err)
			}
			switch token := token.(type) {
			case xml.StartElement:
				if token.Name.Local == "title" {
					bars++
				}
			case xml.CharData:
				text += string(token)
			}
		}
		want := 0
		for _, k := range tracks {
			for _, s := range k.Line.Spans {
				if s.End > s.Start {
					want++
				}
			}
		}
		require.Equal(t, want, bars)
		require.Contains(t, text, `a <b> & "c"`)
	})
}

// TestClockOffset: whatever the ways take, the truth is within the bound, and with equal ways the estimate is exact.
func TestClockOffset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		truth := time.Duration(rapid.Int64Range(-1e12, 1e12).Draw(t, "ahead"))
		equal := rapid.Bool().Draw(t, "equal ways")
		now := time.Now()
		var pings []Ping
		fastest := time.Duration(1 << 62)
		for range rapid.IntRange(1, 5).Draw(t, "pings") {
			way := func(name string) time.Duration { return time.Duration(rapid.IntRange(0, 1e6).Draw(t, name)) }
			there := way("there")
			back := there
			if !equal {
				back = way("back")
			}
			p := Ping{Sent: now, Received: now.Add(there + truth)}
			p.Answered = p.Received.Add(way("thinking"))
			p.Returned = p.Answered.Add(back - truth)
			fastest = min(fastest, there+back)
			pings = append(pings, p)
			now = p.Returned.Add(way("pause"))
		}
		pings = append(pings, Ping{Sent: now, Received: now.Add(5), Answered: now, Returned: now}) // the other clock was set back
		ahead, within, err := ClockOffset(pings)
		require.NoError(t, err)
		require.LessOrEqual(t, (ahead - truth).Abs(), within)
		require.Equal(t, fastest/2+1, within, "the ping that says most")
		if equal {
			require.LessOrEqual(t, (ahead - truth).Abs(), 2*time.Nanosecond)
		}
	})
	_, _, err := ClockOffset(nil)
	require.ErrorIs(t, err, ErrNoPing)
}

// TestSVGHasRoom for long titles, ranks of many digits, many parts and times of whatever length.
func TestSVGHasRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		graph := &Graph{}
		for i := range rapid.IntRange(1, 40).Draw(t, "tasks") {
			graph.Tasks = append(graph.Tasks, Task{Op: Op(i % Ops), Lane: Lane(i % Lanes), Chunk: i * i * i})
		}
		line := Timeline{Graph: graph, Spans: make([]Span, len(graph.Tasks))}
		unit := rapid.Float64Range(1e-9, 1e3).Draw(t, "unit")
		for i := range line.Spans {
			line.Spans[i] = Span{float64(i) * unit, float64(i+1) * unit}
		}
		rank := rapid.IntRange(0, 1<<30).Draw(t, "rank")
		title := rapid.StringMatching(`([a-z]{1,9} |W{1,150} ){0,6}`).Draw(t, "title")
		var b bytes.Buffer
		require.NoError(t, WriteSVG(&b, title, []Track{{Rank: rank, Line: line}, {Rank: 1, Line: line}}))
		svgtest.Readable(t, b.Bytes(), title)
	})
	var b bytes.Buffer
	require.NoError(t, WriteSVG(&b, "", nil))
}
