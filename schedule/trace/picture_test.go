package trace

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/schedule"
)

var rewrite = flag.Bool("rewrite", false, "write what the code draws into testdata; look at the pictures before keeping them")

// requireFile compares what write makes with a file that was looked at.
func requireFile(t *testing.T, name string, write func(w io.Writer) error) {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, write(&b))
	file := filepath.Join("testdata", name)
	if *rewrite {
		require.NoError(t, os.WriteFile(file, b.Bytes(), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), b.String(), "as testdata/%s has it", name)
}

// everyOp is a graph with a task of each operation, some of which wait for the one before.
func everyOp() *schedule.Graph {
	g := &schedule.Graph{}
	for op := range schedule.Op(schedule.Ops) {
		task := schedule.Task{Op: op, Resource: op.Resource(), Chunk: int(op) * 997, Layer: 1, Work: schedule.Work{Starts: 1, Size: float64(1 + op%4)}}
		if op > 0 {
			task.After = []int{int(op) - 1}
		}
		g.Tasks = append(g.Tasks, task)
	}
	return g
}

// twoRanks are two runs on rank 0 and two on rank 12, whose clock is ahead and who begins later;
// the last of them is in a stream of its own.
func twoRanks() (tracks []Track) {
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i, rank := range []int{0, 12, 0, 12} {
		line := schedule.Simulate(everyOp(), secondPerUnit())
		line.Begin = begin.Add(time.Duration(i) * 1500 * time.Millisecond)
		k := Track{Rank: rank, Stream: i / 3, Line: line}
		if rank != 0 {
			k.Ahead = time.Hour
			k.Line.Begin = k.Line.Begin.Add(k.Ahead)
		}
		if i > 1 { // after the first of the same rank
			k.Line.Begin = k.Line.Begin.Add(40 * time.Second)
		}
		tracks = append(tracks, k)
	}
	return tracks
}

// TestPictureOfRanks has a title of two lines with a word that is cut, four tracks, and a key of
// two lines.
func TestPictureOfRanks(t *testing.T) {
	title := strings.Repeat("all operations of two ranks ", 8) + strings.Repeat("W", 100) + " and i" + strings.Repeat("i", 600)
	requireFile(t, "ranks.svg", func(w io.Writer) error { return WriteSVG(w, title, twoRanks()) })
	requireFile(t, "ranks.json", func(w io.Writer) error { return WriteJSON(w, twoRanks()) })
}

// TestAxis: between four and ten round times, of which the first is 0.
func TestAxis(t *testing.T) {
	g := &schedule.Graph{Tasks: []schedule.Task{{Op: schedule.Expert}}}
	for _, of := range []struct {
		seconds float64
		want    string
	}{
		{0, ""},
		{1e-6, "0 µs|0.2 µs|0.4 µs|0.6 µs|0.8 µs|1 µs"},
		{1.1e-3, "0 µs|200 µs|400 µs|600 µs|800 µs|1 ms"},
		{1, "0 µs|200 ms|400 ms|600 ms|800 ms|1 s"},
		{1.9, "0 µs|200 ms|400 ms|600 ms|800 ms|1 s|1.2 s|1.4 s|1.6 s|1.8 s"},
		{2, "0 µs|500 ms|1 s|1.5 s|2 s"},
		{3.9, "0 µs|500 ms|1 s|1.5 s|2 s|2.5 s|3 s|3.5 s"},
		{4, "0 µs|1 s|2 s|3 s|4 s"},
		{9.99, "0 µs|1 s|2 s|3 s|4 s|5 s|6 s|7 s|8 s|9 s"},
		{40, "0 µs|10 s|20 s|30 s|40 s"},
	} {
		var b bytes.Buffer
		line := schedule.Timeline{Graph: g, Spans: []schedule.Span{{End: of.seconds}}}
		require.NoError(t, WriteSVG(&b, "", []Track{{Line: line}}))
		var labels []string
		for row := range strings.Lines(b.String()) {
			if strings.Contains(row, `fill="#555"`) {
				labels = append(labels, strings.TrimSuffix(row[strings.Index(row, ">")+1:], "</text>\n"))
			}
		}
		require.Equal(t, of.want, strings.Join(labels, "|"), "%v s", of.seconds)
	}
}
