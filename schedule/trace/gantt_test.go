package trace

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-moe/switchyard/schedule"
)

// TestGantt reads the chart of a schedule that is known.
func TestGantt(t *testing.T) {
	g := &schedule.Graph{Tasks: []schedule.Task{
		{Op: schedule.Dense, Work: schedule.Work{Size: 2}},
		{Op: schedule.Dispatch, Resource: schedule.Inter, Work: schedule.Work{Size: 2}, After: []int{0}},
		{Op: schedule.Dispatch, Resource: schedule.Inter, Work: schedule.Work{Size: 2}, After: []int{0}},
		{Op: schedule.Expert, Work: schedule.Work{Size: 4}, After: []int{1}},
		{Op: schedule.Combine, Resource: schedule.Inter, Work: schedule.Work{Size: 2}, After: []int{3}},
		{Op: schedule.Expert, Work: schedule.Work{Size: 4}, After: []int{2}},
		{Op: schedule.Combine, Resource: schedule.Inter, Work: schedule.Work{Size: 2}, After: []int{5}},
	}}
	line := schedule.Simulate(g, secondPerUnit())
	require.Equal(t, strings.Join([]string{
		"compute  d---····E-------E-------····",
		"inter    ····>--->---····<---····<---",
		"         0                       14 s",
		"         d dense, > dispatch, E expert, < combine",
		"",
	}, "\n"), Gantt(&line, 28))
	require.Equal(t, "         0 0 µs\n\n", strings.ReplaceAll(Gantt(&schedule.Timeline{Graph: &schedule.Graph{}}, 6), "         \n", "\n"))
	require.Panics(t, func() { Gantt(&line, 0) })
	line = schedule.Timeline{Graph: g, Spans: make([]schedule.Span, len(g.Tasks))}
	line.Spans[0], line.Spans[1] = schedule.Span{End: 2}, schedule.Span{Start: 1, End: 1}
	require.Equal(t, "compute  d-----\ninter    ······\n         0  2 s\n         d dense\n", Gantt(&line, 6), "a task of no time is not seen")
	rapid.Check(t, func(t *rapid.T) {
		k := drawTracks(t)[0]
		width := rapid.IntRange(1, 60).Draw(t, "width")
		for row := range strings.Lines(Gantt(&k.Line, width)) {
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
