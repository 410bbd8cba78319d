package trace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/switchyard-moe/switchyard/schedule"
)

// Track is a run on one rank, for a picture or trace of several.
type Track struct {
	Rank int
	// Stream is which of several runs at the same time on the rank it is, a second micro-batch in flight, say: each has resources of its own in the trace.
	Stream int
	// Ahead is how far the rank's clock is ahead of the one that the trace is told by; see ClockOffset.
	Ahead time.Duration
	Line  schedule.Timeline
}

// traceEvent is an entry of Chrome's trace format: "X" a task, "M" a name, "s" and "f" the ends of an arrow. Times are in µs.
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

// WriteTrace writes runs in Chrome's trace format, which chrome://tracing and ui.perfetto.dev show: a process for each rank, a
// thread for each resource, an arrow wherever a task waits for one of another resource, and arrows from the rank that was the last to begin an exchange,
// for whose rows the others waited, to the end of that exchange on each. Time 0 is when the first run began; a rank may have several tracks,
// in the order in which they ran.
//
// Times are whole nanoseconds, and no slice begins before the one before it on its resource has ended, also for a reader that
// makes nanoseconds of a slice's start and of its duration apart, by rounding or by cutting off.
func WriteJSON(w io.Writer, tracks []Track) error {
	buffered := bufio.NewWriter(w)
	t := tracer{w: buffered, named: map[[2]int]bool{}, seen: map[joint]int{}, ends: map[joint][]part{}}
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
	// exchanges are those so far; ends has a rank's part in each, and seen how often a rank had one of that name.
	exchanges []joint
	ends      map[joint][]part
	seen      map[joint]int
}

// part is a rank's part in an exchange.
type part struct {
	event traceEvent
	span  wholeSpan
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

// thread is the number of a resource of a stream.
func thread(resource schedule.Resource, stream int) int {
	return int(resource) + stream*schedule.Resources
}

// name writes the names of a rank and of the resources of one of its streams, once.
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
			t.join(part{e, s}, k.Stream)
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

// join takes in a rank's part in an exchange.
func (t *tracer) join(p part, stream int) {
	of := joint{name: p.event.Name, stream: stream}
	counter := joint{name: p.event.Name, stream: stream, rank: p.event.Rank}
	of.n = t.seen[counter]
	t.seen[counter]++
	if len(t.ends[of]) == 0 {
		t.exchanges = append(t.exchanges, of)
	}
	t.ends[of] = append(t.ends[of], p)
}

// sent writes the arrows of an exchange, from the part that began last. A part that ended before, as far as clocks can tell, waited for nothing.
func (t *tracer) sent(parts []part) {
	last := parts[0]
	for _, p := range parts[1:] {
		if p.span.start > last.span.start {
			last = p
		}
	}
	from := last.span.start + (last.span.end-last.span.start)/1000
	for _, p := range parts {
		if to := p.span.tip(); p.event.Rank != last.event.Rank && to >= from {
			t.arrow("sent", traceEvent{Rank: last.event.Rank, Thread: last.event.Thread, Time: micros(from)},
				traceEvent{Rank: p.event.Rank, Thread: p.event.Thread, Time: micros(to)})
		}
	}
}
