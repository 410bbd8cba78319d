package trace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/switchyard-moe/switchyard/schedule"
)

// Track is a run on one rank, for a picture or trace of several ranks.
type Track struct {
	Rank int
	// Stream numbers runs at the same time on one rank, such as those of a second micro-batch in
	// flight: each stream has threads of its own in the trace.
	Stream int
	// Ahead is how far the rank's clock is ahead of the clock of the trace; see ClockOffset.
	Ahead time.Duration
	Line  schedule.Timeline
}

// traceEvent is an entry of Chrome's trace format: "X" a task, "M" a name, "s" and "f" the ends of
// an arrow. Times are in µs.
type traceEvent struct {
	Name   string         `json:"name"`
	Phase  string         `json:"ph"`
	Rank   int            `json:"pid"`
	Thread int            `json:"tid"`
	Time   float64        `json:"ts"`
	Dur    *float64       `json:"dur,omitempty"`
	Cat    string         `json:"cat,omitempty"`
	ID     int            `json:"id,omitempty"`
	Bind   string         `json:"bp,omitempty"`
	Args   map[string]any `json:"args,omitempty"`
}

// WriteJSON writes runs in Chrome's trace format, which chrome://tracing and ui.perfetto.dev show:
// a process for each rank, a thread for each resource, and an arrow for each task that waits for
// one of another resource. More arrows show who was waited for: they lead from the rank that was
// the last to begin an exchange to the end of that exchange on each other rank. Time 0 is when the
// first run began. A rank may have several tracks, in the order in which they ran.
//
// Times are whole nanoseconds, and no slice begins before the previous one of its thread has ended;
// so it is also for a reader that rounds or truncates the start and the duration of a slice to
// nanoseconds one by one.
func WriteJSON(w io.Writer, tracks []Track) error {
	buffered := bufio.NewWriter(w)
	t := tracer{w: buffered, named: map[[2]int]bool{}, seen: map[exchange]int{}, ends: map[exchange][]share{}}
	fmt.Fprint(buffered, `{"displayTimeUnit":"ms","traceEvents":[`)
	spans, err := wholeSpans(tracks)
	if err != nil {
		return err
	}
	for i := range tracks {
		t.name(tracks[i].Rank, tracks[i].Stream)
		t.track(&tracks[i], spans[i])
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
	// exchanges are those so far; ends has each rank's share in them, and seen the number of
	// exchanges of that name that a rank has had.
	exchanges []exchange
	ends      map[exchange][]share
	seen      map[exchange]int
}

// share is one rank's run of an exchange.
type share struct {
	event traceEvent
	span  wholeSpan
}

// exchange is a task that all ranks run together: the n-th of its name in a stream. rank is only
// used to count them.
type exchange struct {
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

// thread returns the number of the thread that shows a resource of a stream.
func thread(resource schedule.Resource, stream int) int {
	return int(resource) + stream*schedule.Resources
}

// name writes the names of a rank and of the threads of one of its streams, once.
func (t *tracer) name(rank, stream int) {
	if t.named[[2]int{rank, stream}] {
		return
	}
	if t.named[[2]int{rank, stream}] = true; stream == 0 {
		t.event(traceEvent{Name: "process_name", Phase: "M", Rank: rank, Args: map[string]any{"name": fmt.Sprintf("rank %d", rank)}})
	}
	for resource := range schedule.Resource(schedule.Resources) {
		name := resource.String()
		if stream > 0 {
			name = fmt.Sprintf("%s, stream %d", name, stream)
		}
		t.event(traceEvent{Name: "thread_name", Phase: "M", Rank: rank, Thread: thread(resource, stream), Args: map[string]any{"name": name}})
	}
}

// track writes the tasks that ran and the arrows between them.
func (t *tracer) track(k *Track, spans []wholeSpan) {
	for i, s := range spans {
		if !ran(k, i) {
			continue
		}
		task := &k.Line.Graph.Tasks[i]
		dur := micros(s.end - s.start)
		e := traceEvent{
			Name: task.String(), Phase: "X", Rank: k.Rank, Thread: thread(task.Resource, k.Stream), Time: micros(s.start), Dur: &dur,
			Cat: task.Op.String(), Args: map[string]any{"layer": task.Layer, "chunk": task.Chunk, "batch": task.Batch, "pass": task.Pass.String(), "size": task.Work.Size},
		}
		t.event(e)
		if task.Resource != schedule.Compute {
			t.join(share{e, s}, k.Stream)
		}
		for _, a := range task.After {
			before := &k.Line.Graph.Tasks[a]
			if before.Resource == task.Resource || !ran(k, a) {
				continue
			}
			t.arrow("waits", traceEvent{Rank: k.Rank, Thread: thread(before.Resource, k.Stream), Time: micros(spans[a].tip())},
				traceEvent{Rank: k.Rank, Thread: thread(task.Resource, k.Stream), Time: micros(s.start)})
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

// join adds a rank's share of an exchange.
func (t *tracer) join(p share, stream int) {
	of := exchange{name: p.event.Name, stream: stream}
	counter := exchange{name: p.event.Name, stream: stream, rank: p.event.Rank}
	of.n = t.seen[counter]
	t.seen[counter]++
	if len(t.ends[of]) == 0 {
		t.exchanges = append(t.exchanges, of)
	}
	t.ends[of] = append(t.ends[of], p)
}

// sent writes the arrows of an exchange, from the share that began last. A share that had ended by
// then, as far as clocks can tell, waited for nothing.
func (t *tracer) sent(shares []share) {
	last := shares[0]
	for _, s := range shares[1:] {
		if s.span.start > last.span.start {
			last = s
		}
	}
	from := last.span.start + (last.span.end-last.span.start)/1000
	for _, s := range shares {
		if to := s.span.tip(); s.event.Rank != last.event.Rank && to >= from {
			t.arrow("sent", traceEvent{Rank: last.event.Rank, Thread: last.event.Thread, Time: micros(from)},
				traceEvent{Rank: s.event.Rank, Thread: s.event.Thread, Time: micros(to)})
		}
	}
}
