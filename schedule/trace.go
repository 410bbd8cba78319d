package schedule

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Track is a run on one rank, for a picture or trace of several.
type Track struct {
	Rank int
	// Ahead is how far the rank's clock is ahead of the one that the trace is told by; see ClockOffset.
	Ahead time.Duration
	Line  Timeline
}

// traceEvent is an entry of Chrome's trace format: "X" a task, "M" a name, "s" and "f" the ends of an arrow. Times are in µs.
type traceEvent struct {
	Name  string         `json:"name"`
	Phase string         `json:"ph"`
	Rank  int            `json:"pid"`
	Lane  int            `json:"tid"`
	Time  float64        `json:"ts"`
	Dur   *float64       `json:"dur,omitempty"`
	Cat   string         `json:"cat,omitempty"`
	ID    int            `json:"id,omitempty"`
	Bind  string         `json:"bp,omitempty"`
	Args  map[string]any `json:"args,omitempty"`
}

// WriteTrace writes runs in Chrome's trace format, which chrome://tracing and ui.perfetto.dev show: a process for each rank, a
// thread for each lane, and an arrow wherever a task waits for one of another lane. Time 0 is when the first run began; a
// rank may have several tracks.
func WriteTrace(w io.Writer, tracks []Track) error {
	buffered := bufio.NewWriter(w)
	t := tracer{w: buffered, ranks: map[int]bool{}}
	fmt.Fprint(buffered, `{"displayTimeUnit":"ms","traceEvents":[`)
	origin := firstBegin(tracks)
	for i := range tracks {
		k := &tracks[i]
		t.name(k.Rank)
		t.track(k, beginOf(k).Sub(origin).Seconds())
	}
	fmt.Fprint(buffered, "\n]}\n")
	if t.err != nil {
		return t.err
	}
	return buffered.Flush()
}

// beginOf returns when a track began by the trace's clock.
func beginOf(t *Track) time.Time { return t.Line.Begin.Round(0).Add(-t.Ahead) }

func firstBegin(tracks []Track) time.Time {
	var first time.Time
	for i := range tracks {
		if b := beginOf(&tracks[i]); i == 0 || b.Before(first) {
			first = b
		}
	}
	return first
}

// tracer writes events, and remembers the first error.
type tracer struct {
	w      io.Writer
	err    error
	any    bool
	arrows int
	ranks  map[int]bool
}

func (t *tracer) event(e traceEvent) {
	data, err := json.Marshal(e)
	if t.err == nil {
		t.err = err
	}
	separator := ",\n"
	if !t.any {
		separator, t.any = "\n", true
	}
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, "%s%s", separator, data)
	}
}

// name writes the names of a rank and its lanes, once.
func (t *tracer) name(rank int) {
	if t.ranks[rank] {
		return
	}
	t.ranks[rank] = true
	t.event(traceEvent{Name: "process_name", Phase: "M", Rank: rank, Args: map[string]any{"name": fmt.Sprintf("rank %d", rank)}})
	for lane := range Lane(Lanes) {
		t.event(traceEvent{Name: "thread_name", Phase: "M", Rank: rank, Lane: int(lane), Args: map[string]any{"name": lane.String()}})
	}
}

// track writes the tasks that ran and the arrows between them; at is when the track began, in seconds.
func (t *tracer) track(k *Track, at float64) {
	const micro = 1e6
	ran := func(i int) bool { return k.Line.Spans[i] != (Span{}) }
	for i, s := range k.Line.Spans {
		if !ran(i) {
			continue
		}
		task := &k.Line.Graph.Tasks[i]
		dur := (s.End - s.Start) * micro
		t.event(traceEvent{
			Name: task.String(), Phase: "X", Rank: k.Rank, Lane: int(task.Lane), Time: (at + s.Start) * micro, Dur: &dur,
			Cat: task.Op.String(), Args: map[string]any{"layer": task.Layer, "chunk": task.Chunk, "batch": task.Batch, "pass": task.Pass.String(), "size": task.Work.Size},
		})
		for _, a := range task.After {
			before := &k.Line.Graph.Tasks[a]
			if before.Lane == task.Lane || !ran(a) {
				continue
			}
			t.arrows++
			// An arrow must begin inside the task that it belongs to, so just before its end.
			from := k.Line.Spans[a]
			tip := from.End - (from.End-from.Start)/1000
			t.event(traceEvent{Name: "waits", Phase: "s", Cat: "waits", ID: t.arrows, Rank: k.Rank, Lane: int(before.Lane), Time: (at + tip) * micro})
			t.event(traceEvent{Name: "waits", Phase: "f", Cat: "waits", ID: t.arrows, Bind: "e", Rank: k.Rank, Lane: int(task.Lane), Time: (at + s.Start) * micro})
		}
	}
}
