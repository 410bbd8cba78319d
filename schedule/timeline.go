package schedule

import "time"

// Span is when a task ran, in seconds from the beginning of its timeline.
type Span struct {
	Start, End float64
}

// Timeline is one run of a graph on one rank, real or simulated.
type Timeline struct {
	Graph *Graph
	// Number is that of the pass in its layer, from 1; 0 if the run is of none.
	Number uint64
	// Begin is when the run began by the rank's clock, or after the zero time if it was simulated.
	Begin time.Time
	// Spans has one entry for each task of Graph; a task that never ran has a zero Span.
	Spans []Span
}

// Makespan returns the seconds from the beginning to the end of the last task.
func (t *Timeline) Makespan() float64 {
	last := 0.0
	for _, s := range t.Spans {
		last = max(last, s.End)
	}
	return last
}

// Busy returns the seconds during which a resource ran something.
func (t *Timeline) Busy(resource Resource) float64 {
	sum := 0.0
	for i, s := range t.Spans {
		if t.Graph.Tasks[i].Resource == resource {
			sum += s.End - s.Start
		}
	}
	return sum
}

// Exposed returns the seconds during which the rank communicates or waits for others and computes
// nothing.
func (t *Timeline) Exposed() float64 { return t.Makespan() - t.Busy(Compute) }
