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
	// Sharded says that the experts are cut over the ranks of a node (expert sharding, ESP): those
	// gather the rows of a chunk before they compute it, and reduce and scatter the answers after it,
	// on the link within the node, while other chunks are on the link between nodes (FSMoE).
	Sharded bool
	// OneStream has those steps take turns with the others on one resource, as they must where both
	// links are one, and as FSMoE's baseline does.
	OneStream bool
}

// Graph returns the tasks in the order in which they are issued: all dispatches, what runs in the
// background, the shared expert, the experts by chunk, all combines. If the experts are sharded
// each dispatch has the gathering of its rows after it, and each combine the scattering of its
// answers before it. Tasks have no Work.
func (p Pipeline) Graph() *Graph {
	g := &Graph{}
	add := func(op Op, chunk int, after ...int) int {
		g.Tasks = append(g.Tasks, Task{Op: op, Pass: p.Pass, Chunk: chunk, Resource: p.resource(op), After: after})
		return len(g.Tasks) - 1
	}
	arrived, computed := make([]int, p.Chunks), make([]int, p.Chunks)
	for i := range arrived {
		if arrived[i] = add(Dispatch, i); p.Sharded {
			arrived[i] = add(Gather, i, arrived[i])
		}
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
	for i, answers := range computed {
		if p.Sharded {
			answers = add(Scatter, i, answers)
		}
		add(Combine, i, answers)
	}
	return g
}

// resource is where an operation runs.
func (p Pipeline) resource(op Op) Resource {
	if of := op.Resource(); of != Intra || !p.OneStream {
		return of
	}
	return Inter
}
