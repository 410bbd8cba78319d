package trace

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/switchyard-moe/switchyard/internal/svgtest"
	"github.com/switchyard-moe/switchyard/schedule"
	"pgregory.net/rapid"
)

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

// TestSVGHasRoom for long titles, ranks of many digits, many parts and times of whatever length.
func TestSVGHasRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		graph := &schedule.Graph{}
		for i := range rapid.IntRange(1, 40).Draw(t, "tasks") {
			graph.Tasks = append(graph.Tasks, schedule.Task{Op: schedule.Op(i % schedule.Ops), Resource: schedule.Resource(i % schedule.Resources), Chunk: i * i * i})
		}
		line := schedule.Timeline{Graph: graph, Spans: make([]schedule.Span, len(graph.Tasks))}
		unit := rapid.Float64Range(1e-9, 1e3).Draw(t, "unit")
		for i := range line.Spans {
			line.Spans[i] = schedule.Span{Start: float64(i) * unit, End: float64(i+1) * unit}
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
