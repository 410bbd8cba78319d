package simulate

import (
	"time"

	"github.com/switchyard-moe/switchyard/schedule"
)

// world is the state of a simulation of many ranks. As all run the same graph in the same order,
// one walk over its tasks, each for all ranks, is enough.
type world struct {
	*Cluster
	g     *schedule.Graph
	ranks int
	free  [schedule.Resources][]float64 // by rank: when the resource has ended its last task
	begin []float64                     // by rank: when it began the step
	ends  [][]float64                   // by task and rank; nil before a task and after its last use
	last  []int                         // by task: the last one that comes after it
	spare [][]float64                   // rows of ends that are free again
	ready []float64
	meet  []float64

	computed float64 // by all ranks in all steps
	kept     []schedule.Timeline
}

func newWorld(c *Cluster, g *schedule.Graph) *world {
	w := &world{Cluster: c, g: g, ranks: c.Nodes * c.PerNode, ends: make([][]float64, len(g.Tasks)), last: make([]int, len(g.Tasks))}
	for resource := range w.free {
		w.free[resource] = make([]float64, w.ranks)
	}
	w.begin, w.ready = make([]float64, w.ranks), make([]float64, w.ranks)
	w.meet = make([]float64, max(c.Nodes, c.PerNode))
	for i := range g.Tasks {
		for _, a := range g.Tasks[i].After {
			w.last[a] = i
		}
	}
	return w
}

// step runs the graph once. A rank begins when all its resources have ended the step before.
func (w *world) step(step int, keep bool) {
	for r := range w.begin {
		w.begin[r] = max(w.free[schedule.Compute][r], w.free[schedule.Inter][r], w.free[schedule.Intra][r])
	}
	if keep {
		for _, r := range w.Watch {
			begin := time.Time{}.Add(time.Duration(w.begin[r] * float64(time.Second)))
			w.kept = append(w.kept, schedule.Timeline{Graph: w.g, Begin: begin, Spans: make([]schedule.Span, len(w.g.Tasks))})
		}
	}
	for i := range w.g.Tasks {
		w.run(step, i, keep)
	}
	for i, row := range w.ends { // of tasks that no other comes after
		if row != nil {
			w.spare, w.ends[i] = append(w.spare, row), nil
		}
	}
}

// run computes when a task ends on every rank.
func (w *world) run(step, i int, keep bool) {
	t := &w.g.Tasks[i]
	for r := range w.ready {
		w.ready[r] = max(w.begin[r], w.free[t.Resource][r])
	}
	for _, a := range t.After {
		for r, end := range w.ends[a] {
			w.ready[r] = max(w.ready[r], end)
		}
	}
	w.gather(t.Op.Resource())
	pace := w.pace(t)
	ends := w.row()
	for r := range ends {
		seconds := w.seconds(step, t, r, pace)
		ends[r] = w.ready[r] + seconds
		w.free[t.Resource][r] = ends[r]
		if t.Resource == schedule.Compute {
			w.computed += seconds
		}
	}
	for k := range w.kept {
		if r := w.Watch[k]; keep {
			w.kept[k].Spans[i] = schedule.Span{Start: w.ready[r] - w.begin[r], End: ends[r] - w.begin[r]}
		}
	}
	w.ends[i] = ends
	for _, a := range t.After {
		if w.last[a] == i && w.ends[a] != nil {
			w.spare, w.ends[a] = append(w.spare, w.ends[a]), nil
		}
	}
}

// gather makes the ranks of a collective wait for the last of them. Which ranks they are depends on
// the operation's own resource, even if all links share one.
func (w *world) gather(resource schedule.Resource) {
	if resource == schedule.Compute {
		return
	}
	clear(w.meet)
	for r, at := range w.ready {
		k := w.group(resource, r)
		w.meet[k] = max(w.meet[k], at)
	}
	for r := range w.ready {
		w.ready[r] = w.meet[w.group(resource, r)]
	}
}

// group returns which of a resource's collectives a rank is in.
func (w *world) group(resource schedule.Resource, rank int) int {
	if resource == schedule.Intra {
		return rank / w.PerNode
	}
	return rank % w.PerNode
}

// pace returns for each group how many times as slow its slowest link is; nil if links do not
// count.
func (w *world) pace(t *schedule.Task) []float64 {
	if w.Link == nil || t.Op != schedule.GradReduce {
		return nil
	}
	pace := make([]float64, w.PerNode)
	for r, f := range w.Link {
		k := w.group(schedule.Inter, r)
		pace[k] = max(pace[k], f)
	}
	return pace
}

// seconds returns how long a task takes on a rank once it has begun.
func (w *world) seconds(step int, t *schedule.Task, rank int, pace []float64) float64 {
	work, load := t.Work, 1.0
	if w.Load != nil {
		load = w.Load(step, t.Layer, rank)
	}
	switch t.Op {
	case schedule.Expert, schedule.Gather, schedule.Scatter:
		work.Size *= load
	case schedule.Dispatch, schedule.Combine:
		// A rank sends its own rows and receives those of its experts, or the reverse.
		work.Size *= max(1, load)
	}
	s := w.Costs[t.Op].Time(work)
	switch {
	case t.Resource == schedule.Compute:
		if w.Slow != nil {
			s *= w.Slow[rank]
		}
		if w.Noise != nil {
			s *= w.Noise(step, t.Layer, rank, t.Pass)
		}
	case pace != nil:
		s *= pace[w.group(schedule.Inter, rank)]
	case w.Link != nil && t.Op.Resource() == schedule.Inter:
		s *= w.Link[rank]
	}
	return s
}

// row returns memory for the ends of a task.
func (w *world) row() []float64 {
	if n := len(w.spare); n > 0 {
		row := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return row
	}
	return make([]float64, w.ranks)
}

func (w *world) result(steps int) ClusterRun {
	finish, sum := 0.0, 0.0
	for r := range w.ranks {
		end := max(w.free[schedule.Compute][r], w.free[schedule.Inter][r], w.free[schedule.Intra][r])
		finish, sum = max(finish, end), sum+end
	}
	n := float64(steps)
	return ClusterRun{
		StepTime: finish / n, Exposed: (sum - w.computed) / n / float64(w.ranks), Timelines: w.kept,
	}
}
