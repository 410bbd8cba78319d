package schedule

import "fmt"

// Simulate walks the graph on one rank with the given costs. It panics if a cost makes a task's
// time negative or NaN.
func Simulate(g *Graph, costs *Costs) Timeline {
	times := make([]float64, len(g.Tasks))
	for i := range g.Tasks {
		times[i] = costs.Time(&g.Tasks[i])
	}
	return walk(g, times)
}

// walk gives each task its span.
func walk(g *Graph, times []float64) Timeline {
	line := Timeline{Graph: g, Spans: make([]Span, len(g.Tasks))}
	line.Recompute(times)
	return line
}

// Recompute sets the spans to those of a simulated run whose tasks take the given times, in seconds
// and in the order of the graph, and returns the makespan. It allocates nothing, for planners that
// call it in a loop. It panics if a time is negative or NaN.
func (t *Timeline) Recompute(times []float64) float64 {
	var free [Resources]float64 // when each resource has run all of its tasks so far
	last := 0.0
	for i := range t.Graph.Tasks { // one pass is enough: tasks only wait for tasks before them
		task := &t.Graph.Tasks[i]
		start := free[task.Resource]
		for _, a := range task.After {
			start = max(start, t.Spans[a].End)
		}
		if !(times[i] >= 0) {
			panic(fmt.Sprintf("schedule: %v takes %v s; must not be negative", task, times[i]))
		}
		end := start + times[i]
		t.Spans[i] = Span{start, end}
		free[task.Resource] = end
		last = max(last, end)
	}
	return last
}
