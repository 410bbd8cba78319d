package simulate

import (
	"github.com/switchyard-moe/switchyard/schedule"
)

// filling cuts the gradients of a backward pass into the idle time of the link.
//
// Each layer has two gaps: after its last dispatch, while experts compute, and during its dense
// part. As a function of the time t that is put into one gap, the makespan is the longest of the
// paths that avoid the gap and of those that pass it, max(C, D + t). So C - D is what the gap holds
// without making the pass longer, and walking the graph once with t = C yields it.
type filling struct {
	layers  []Layer
	costs   *schedule.Costs
	plan    Plan
	line    schedule.Timeline
	times   []float64 // by task
	gaps    []gap     // in the order of the pass
	tail    int       // the task that sums what is left, -1 if there is none
	pending float64   // what the tail sums
}

// gap is an idle time of the link, which can take gradients.
type gap struct {
	task   int
	layer  int
	beside bool    // the dense part, not within the exchange
	spare  float64 // what existed by then and was not sent
	pieces []float64
}

// newFilling prepares the backward graph of a plan without gradients, with an empty task in every
// gap and one at the end.
func newFilling(layers []Layer, costs *schedule.Costs, plan Plan) *filling {
	f := &filling{layers: layers, costs: costs, plan: plan, tail: -1}
	trial := plan
	trial.Within, trial.Beside, trial.Tail = make([][]float64, len(layers)), make([][]float64, len(layers)), nil
	for i := range layers {
		trial.Within[i], trial.Beside[i] = []float64{0}, []float64{0}
	}
	g := BuildBackward(layers, &trial)
	f.line = schedule.Timeline{Graph: g, Spans: make([]schedule.Span, len(g.Tasks))}
	f.times = make([]float64, len(g.Tasks))
	for i := range g.Tasks {
		switch t := &g.Tasks[i]; {
		case t.Op != schedule.GradReduce:
			f.times[i] = costs.Time(t)
		case len(f.gaps) < 2*len(layers):
			f.gaps = append(f.gaps, gap{task: i, layer: t.Layer, beside: t.Chunk == 1})
		default:
			f.tail = i
		}
	}
	return f
}

// taking returns the pieces to put into a gap that is that many seconds long, out of waiting
// gradients of the given size.
type taking func(g *gap, seconds, waiting float64, cost schedule.Linear) []float64

// exactly takes what fits, in one piece.
func exactly(_ *gap, seconds, waiting float64, cost schedule.Linear) []float64 {
	if n := min(waiting, fitting(cost, seconds)); n > 0 {
		return []float64{n}
	}
	return nil
}

// fitting returns the largest size that one start moves within the given time, 0 if there is none.
func fitting(l schedule.Linear, seconds float64) float64 {
	if seconds <= l.Alpha || l.Beta <= 0 {
		return 0
	}
	return (seconds - l.Alpha) / l.Beta
}

// fill puts gradients into the gaps, in the order of the pass, as take says, and returns the
// makespan of the plan. Early gaps are filled first, because every gap can take what an earlier one
// left, but not the reverse. (With several micro-batches the plan can be faster than that, because
// gaps that stay empty then delay nothing.)
func (f *filling) fill(take taking) float64 {
	waiting := f.plan.Carried
	idle := f.line.Recompute(f.times)
	for i := range f.gaps {
		g := &f.gaps[i]
		if waiting > 0 {
			f.times[g.task] = idle
			room := 2*idle - f.line.Recompute(f.times)
			g.pieces = take(g, room, waiting, f.costs[schedule.GradReduce])
			f.times[g.task] = f.piecesTime(g)
			for _, s := range g.pieces {
				waiting = max(0, waiting-s)
			}
			idle = f.line.Recompute(f.times)
		}
		g.spare = waiting
		if g.beside {
			waiting += f.layers[g.layer][schedule.GradReduce].Size
		}
	}
	f.pending = waiting
	total := f.finish()
	f.record()
	return total
}

// finish sums what is left: at the end, or, if that saves the start there, as more of a gap's last
// piece. A gap that is filled beyond what it holds costs as much as the end does for the same size.
// It returns the makespan.
func (f *filling) finish() float64 {
	if f.tail < 0 || f.pending <= 0 {
		return f.line.Recompute(f.times)
	}
	f.times[f.tail] = f.costs[schedule.GradReduce].Time(schedule.Work{Starts: 1, Size: f.pending})
	best := f.line.Recompute(f.times)
	atEnd, chosen := f.times[f.tail], -1
	f.times[f.tail] = 0
	most := f.pending
	for i := len(f.gaps) - 1; i >= 0; i-- {
		g := &f.gaps[i]
		if most = min(most, g.spare); most < f.pending {
			break // no earlier gap can have all of it
		}
		before := f.times[g.task]
		f.times[g.task] = f.piecesTime(g) + f.costs[schedule.GradReduce].Beta*f.pending
		if len(g.pieces) == 0 {
			f.times[g.task] += f.costs[schedule.GradReduce].Alpha
		}
		if t := f.line.Recompute(f.times); better(t, best) {
			best, chosen = t, i
		}
		f.times[g.task] = before
	}
	if chosen < 0 {
		f.times[f.tail] = atEnd
		return best
	}
	g := &f.gaps[chosen]
	if len(g.pieces) == 0 {
		g.pieces = []float64{0}
	}
	g.pieces[len(g.pieces)-1] += f.pending
	f.pending = 0
	return best
}

// piecesTime returns the seconds that the pieces in a gap take.
func (f *filling) piecesTime(g *gap) float64 {
	sum := 0.0
	for _, s := range g.pieces {
		sum += f.costs[schedule.GradReduce].Time(schedule.Work{Starts: 1, Size: s})
	}
	return sum
}

// record writes the pieces into the plan.
func (f *filling) record() {
	f.plan.Within, f.plan.Beside = make([][]float64, len(f.layers)), make([][]float64, len(f.layers))
	for _, g := range f.gaps {
		if g.beside {
			f.plan.Beside[g.layer] = g.pieces
		} else {
			f.plan.Within[g.layer] = g.pieces
		}
	}
}
