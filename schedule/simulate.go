package schedule

import "fmt"

// Simulate walks the graph on one rank with the given costs. It panics if a cost makes a task's time negative or NaN.
func Simulate(g *Graph, costs *Costs) Timeline {
	times := make([]float64, len(g.Tasks))
	for i := range g.Tasks {
		times[i] = costs.Time(&g.Tasks[i])
	}
	return walk(g, times)
}

// walk gives each task its span. One pass is enough: a lane takes its tasks in the order of the graph, and a task only waits
// for tasks before it.
func walk(g *Graph, times []float64) Timeline {
	line := Timeline{Graph: g, Spans: make([]Span, len(g.Tasks))}
	line.walk(times)
	return line
}

// walk computes the spans anew and returns the makespan.
func (t *Timeline) walk(times []float64) float64 {
	var free [Lanes]float64
	last := 0.0
	for i := range t.Graph.Tasks {
		task := &t.Graph.Tasks[i]
		start := free[task.Lane]
		for _, a := range task.After {
			start = max(start, t.Spans[a].End)
		}
		if !(times[i] >= 0) {
			panic(fmt.Sprintf("schedule: %v takes %v s; must not be negative", task, times[i]))
		}
		end := start + times[i]
		t.Spans[i] = Span{start, end}
		free[task.Lane] = end
		last = max(last, end)
	}
	return last
}
