package schedule

import (
	"context"
	"sync"
	"time"
)

// Execute runs the graph: one worker for each resource takes the resource's tasks in order, waits
// for the tasks that each comes after, and calls run. It returns when all workers have ended, with
// the spans of the tasks that ended without error.
//
// The first error ends it: the context given to run is cancelled, no further task starts, and that
// error is returned as it is. If ctx ends first, its cause is returned. run is called by up to
// Resources goroutines at once; the compute resource's tasks run on the caller's. It panics if the
// graph is not valid.
func Execute(ctx context.Context, g *Graph, run func(ctx context.Context, t *Task) error) (Timeline, error) {
	if err := g.Validate(); err != nil {
		panic(err.Error())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := &execution{
		line: Timeline{Graph: g, Begin: time.Now(), Spans: make([]Span, len(g.Tasks))},
		done: make([]chan struct{}, len(g.Tasks)),
		run:  run, fail: cancel,
	}
	var resources [Resources][]int
	for i := range g.Tasks {
		e.done[i] = make(chan struct{})
		resources[g.Tasks[i].Resource] = append(resources[g.Tasks[i].Resource], i)
	}
	var workers sync.WaitGroup
	var finished [Resources]bool
	for resource := Compute + 1; resource < Resources; resource++ {
		if finished[resource] = len(resources[resource]) == 0; !finished[resource] {
			workers.Go(func() { finished[resource] = e.work(ctx, resources[resource]) })
		}
	}
	finished[Compute] = e.work(ctx, resources[Compute])
	workers.Wait()
	if finished == [Resources]bool{true, true, true} {
		return e.line, nil
	}
	return e.line, context.Cause(ctx)
}

// execution is one run of a graph.
type execution struct {
	line Timeline
	done []chan struct{} // closed when the task has ended without error
	run  func(context.Context, *Task) error
	fail context.CancelCauseFunc
}

// work runs the tasks of a resource until one fails or the context ends, and reports whether all of
// them succeeded.
func (e *execution) work(ctx context.Context, tasks []int) bool {
	for _, i := range tasks {
		t := &e.line.Graph.Tasks[i]
		if !e.await(ctx, t) {
			return false
		}
		start := time.Since(e.line.Begin)
		if err := e.run(ctx, t); err != nil {
			e.fail(err)
			return false
		}
		e.line.Spans[i] = Span{start.Seconds(), time.Since(e.line.Begin).Seconds()}
		close(e.done[i])
	}
	return true
}

// await waits until t may start, and reports whether it may.
func (e *execution) await(ctx context.Context, t *Task) bool {
	for _, a := range t.After {
		select {
		case <-e.done[a]:
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}
