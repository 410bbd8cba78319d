package simulate

import (
	"github.com/switchyard-moe/switchyard/schedule"
)

// builder appends tasks to a graph. Its methods take the tasks that come before, and return those
// that the next ones have to wait for.
type builder struct {
	plan   *Plan
	layers []Layer // their work in this pass
	pass   schedule.Pass
	tasks  []schedule.Task
}

// newBuilder panics if the plan does not fit the layers.
func newBuilder(layers []Layer, plan *Plan) *builder {
	if err := plan.Validate(layers); err != nil {
		panic(err.Error())
	}
	return &builder{plan: plan, layers: layers}
}

func (b *builder) batches() int { return max(1, b.plan.Batches) }

// position is a layer and a micro-batch, to which a task belongs.
type position struct{ layer, batch int }

// add appends a task. If the task has no work, what follows waits for what the task would have
// waited for.
func (b *builder) add(op schedule.Op, p position, chunk int, w schedule.Work, after ...int) []int {
	if w == (schedule.Work{}) {
		return after
	}
	resource := op.Resource()
	if b.plan.OneStream && resource == schedule.Intra {
		resource = schedule.Inter
	}
	b.tasks = append(b.tasks, schedule.Task{
		Op: op, Pass: b.pass, Layer: p.layer, Batch: p.batch, Chunk: chunk, Resource: resource, Work: w, After: after,
	})
	return []int{len(b.tasks) - 1}
}

// pieces returns the number of pieces of a layer's rows, and which part of a piece's starts the
// messages between nodes have.
func (b *builder) pieces(layer int) (n int, starts float64) {
	peers := max(1, b.plan.PerPeer)
	return b.plan.Degree(b.pass, layer) * peers, 1 / float64(peers)
}

// out issues the exchange of a layer's rows to their experts. It returns what the experts have to
// wait for, by piece.
func (b *builder) out(p position, in []int) [][]int {
	n, starts := b.pieces(p.layer)
	l := &b.layers[p.layer]
	arrived := make([][]int, n)
	for c := range n {
		rows := b.add(schedule.Pack, p, c, cut(l[schedule.Pack], n, 1), in...)
		rows = b.add(schedule.Dispatch, p, c, cut(l[schedule.Dispatch], n, starts), rows...)
		arrived[c] = b.add(schedule.Gather, p, c, cut(l[schedule.Gather], n, 1), rows...)
	}
	return arrived
}

// back issues the experts and the exchange of their answers. in is what the layer's input waited
// for.
func (b *builder) back(p position, in []int, arrived [][]int) []int {
	n, starts := b.pieces(p.layer)
	l := &b.layers[p.layer]
	var done []int
	if b.plan.SharedInGap && l[schedule.Shared] != (schedule.Work{}) {
		done = append(done, b.add(schedule.Shared, p, 0, l[schedule.Shared], in...)...)
	}
	returned := make([][]int, n)
	for c := range n {
		rows := b.add(schedule.Expert, p, c, cut(l[schedule.Expert], n, 1), arrived[c]...)
		rows = b.add(schedule.Scatter, p, c, cut(l[schedule.Scatter], n, 1), rows...)
		returned[c] = b.add(schedule.Combine, p, c, cut(l[schedule.Combine], n, starts), rows...)
	}
	for c, rows := range returned {
		for _, t := range b.add(schedule.Unpack, p, c, cut(l[schedule.Unpack], n, 1), rows...) {
			if len(done) == 0 || done[len(done)-1] != t { // without any work all pieces wait for the same
				done = append(done, t)
			}
		}
	}
	if !b.plan.SharedInGap {
		done = b.add(schedule.Shared, p, 0, l[schedule.Shared], done...)
	}
	return done
}

// cut returns the work of one of n pieces. starts is which part of the whole's starts it has.
func cut(w schedule.Work, n int, starts float64) schedule.Work {
	return schedule.Work{Starts: w.Starts * starts, Size: w.Size / float64(n)}
}
