package schedule

// Pipeline says how one pass of one layer runs: its rows travel to their experts and back in
// chunks, and the experts compute one chunk while others travel. It is the graph that a layer runs,
// and that autotune simulates to choose the number of chunks.
type Pipeline struct {
	Pass Pass
	// Chunks is the number of chunks of the exchanges, at least 1.
	Chunks int
	// Background is the number of collectives of other work, each a GradReduce task, that run on the
	// link after the last dispatch, while the experts compute.
	Background int
	// SplitBackward has the gradient of the experts' weights computed as a task of its own, Weights,
	// after that of their rows: while these travel home.
	SplitBackward bool
}

// Graph returns the tasks in the order in which they are issued: all dispatches, what runs in the
// background, the shared expert, the experts by chunk, all combines. Tasks have no Work.
func (p Pipeline) Graph() *Graph {
	g := &Graph{}
	add := func(op Op, chunk int, after ...int) int {
		g.Tasks = append(g.Tasks, Task{Op: op, Pass: p.Pass, Chunk: chunk, Resource: op.Resource(), After: after})
		return len(g.Tasks) - 1
	}
	arrived, computed := make([]int, p.Chunks), make([]int, p.Chunks)
	for i := range arrived {
		arrived[i] = add(Dispatch, i)
	}
	for i := range p.Background {
		add(GradReduce, i)
	}
	add(Shared, 0)
	for i := range computed {
		computed[i] = add(Expert, i, arrived[i])
		if p.SplitBackward {
			add(Weights, i, computed[i])
		}
	}
	for i := range computed {
		add(Combine, i, computed[i])
	}
	return g
}
