package schedule

import (
	"errors"
	"fmt"
)

// Task is one operation on one resource.
type Task struct {
	Op       Op
	Pass     Pass
	Layer    int
	Batch    int // micro-batch
	Chunk    int // which of the pieces that the exchange is cut into
	Resource Resource
	Work     Work
	// After holds the positions in the graph of the tasks that must have ended; all are smaller
	// than the task's own.
	After []int
}

// String is the task's name: operation, layer and chunk, ∂ for backward and ′ for each micro-batch
// after the first.
func (t *Task) String() string {
	name := fmt.Sprintf("%s %d.%d", t.Op, t.Layer, t.Chunk)
	if t.Pass == Backward {
		name = "∂" + name
	}
	for range t.Batch {
		name += "′"
	}
	return name
}

// Graph is what is to run, in the order in which it is issued: each resource takes its tasks in
// this order, and each task waits for those in After. As these stand before it, no order of events
// can deadlock.
type Graph struct {
	Tasks []Task
}

// Validate reports every task with an unknown resource or operation, or that comes after one that
// does not stand before it.
func (g *Graph) Validate() error {
	var faults []error
	for i := range g.Tasks {
		t := &g.Tasks[i]
		if t.Resource >= Resources || t.Op >= Ops {
			faults = append(faults, fmt.Errorf("schedule: task %d: %v on %v: there is no such thing", i, t.Op, t.Resource))
		}
		for _, a := range t.After {
			if a < 0 || a >= i {
				faults = append(faults, fmt.Errorf("schedule: task %d (%v) comes after task %d, which does not stand before it", i, t, a))
			}
		}
	}
	return errors.Join(faults...)
}
