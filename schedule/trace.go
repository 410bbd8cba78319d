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
	// Stream is which of several runs at the same time on the rank it is, a second micro-batch in flight, say: each has lanes of its own in the trace.
	Stream int
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
// thread for each lane, an arrow wherever a task waits for one of another lane, and arrows from the rank that was the last to begin an exchange,
// for whose rows the others waited, to the end of that exchange on each. Time 0 is when the first run began; a rank may have several tracks.
func WriteTrace(w io.Writer, tracks []Track) error {
	buffered := bufio.NewWriter(w)
	t := tracer{w: buffered, named: map[[2]int]bool{}, seen: map[joint]int{}, ends: map[joint][]traceEvent{}}
	fmt.Fprint(buffered, `{"displayTimeUnit":"ms","traceEvents":[`)
	origin := firstBegin(tracks)
	for i := range tracks {
		k := &tracks[i]
		t.name(k.Rank, k.Stream)
		t.track(k, beginOf(k).Sub(origin).Seconds())
	}
	for _, of := range t.exchanges {
		t.sent(t.ends[of])
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
	named  map[[2]int]bool // rank and stream
	// exchanges are those so far; ends has a rank's part in each, and seen how often a rank had one of that name.
	exchanges []joint
	ends      map[joint][]traceEvent
	seen      map[joint]int
}

// joint is a task that all ranks have a part in: the n-th of its name in a stream. Rank is only used to count them.
type joint struct {
	name            string
	stream, n, rank int
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

// thread is the number of a lane of a stream.
func thread(lane Lane, stream int) int { return int(lane) + stream*Lanes }

// name writes the names of a rank and of the lanes of one of its streams, once.
func (t *tracer) name(rank, stream int) {
	if t.named[[2]int{rank, stream}] {
		return
	}
	if t.named[[2]int{rank, stream}] = true; stream == 0 {
		t.event(traceEvent{Name: "process_name", Phase: "M", Rank: rank, Args: map[string]any{"name": fmt.Sprintf("rank %d", rank)}})
	}
	for lane := range Lane(Lanes) {
		name := lane.String()
		if stream > 0 {
			name = fmt.Sprintf("%s, stream %d", name, stream)
		}
		t.event(traceEvent{Name: "thread_name", Phase: "M", Rank: rank, Lane: thread(lane, stream), Args: map[string]any{"name": name}})
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
		e := traceEvent{
			Name: task.String(), Phase: "X", Rank: k.Rank, Lane: thread(task.Lane, k.Stream), Time: (at + s.Start) * micro, Dur: &dur,
			Cat: task.Op.String(), Args: map[string]any{"layer": task.Layer, "chunk": task.Chunk, "batch": task.Batch, "pass": task.Pass.String(), "size": task.Work.Size},
		}
		t.event(e)
		if task.Lane != Compute {
			t.join(e, k.Stream)
		}
		for _, a := range task.After {
			before := &k.Line.Graph.Tasks[a]
			if before.Lane == task.Lane || !ran(a) {
				continue
			}
			// An arrow must begin inside the task that it belongs to, so just before its end.
			from := k.Line.Spans[a]
			tip := from.End - (from.End-from.Start)/1000
			t.arrow("waits", traceEvent{Rank: k.Rank, Lane: thread(before.Lane, k.Stream), Time: (at + tip) * micro},
				traceEvent{Rank: k.Rank, Lane: thread(task.Lane, k.Stream), Time: (at + s.Start) * micro})
		}
	}
}

// arrow writes an arrow between two events.
func (t *tracer) arrow(name string, from, to traceEvent) {
	t.arrows++
	from.Name, from.Phase, from.Cat, from.ID = name, "s", name, t.arrows
	to.Name, to.Phase, to.Cat, to.ID, to.Bind = name, "f", name, t.arrows, "e"
	t.event(from)
	t.event(to)
}

// join takes in a rank's part in an exchange.
func (t *tracer) join(e traceEvent, stream int) {
	of := joint{name: e.Name, stream: stream}
	counter := joint{name: e.Name, stream: stream, rank: e.Rank}
	of.n = t.seen[counter]
	t.seen[counter]++
	if len(t.ends[of]) == 0 {
		t.exchanges = append(t.exchanges, of)
	}
	t.ends[of] = append(t.ends[of], e)
}

// sent writes the arrows of an exchange, from the part that began last. A part that ended before, as far as clocks can tell, waited for nothing.
func (t *tracer) sent(parts []traceEvent) {
	last := parts[0]
	for _, p := range parts[1:] {
		if p.Time > last.Time {
			last = p
		}
	}
	from := last.Time + *last.Dur/1000
	for _, p := range parts {
		if to := p.Time + *p.Dur - *p.Dur/1000; p.Rank != last.Rank && to >= from {
			t.arrow("sent", traceEvent{Rank: last.Rank, Lane: last.Lane, Time: from}, traceEvent{Rank: p.Rank, Lane: p.Lane, Time: to})
		}
	}
}
