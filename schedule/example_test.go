package schedule_test

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/schedule"
)

// The backward pass of a layer in two chunks: the second travels while the experts compute the
// first. The graph that is simulated is the graph that runs.
func ExampleExecute() {
	graph := schedule.Pipeline{Pass: schedule.Backward, Chunks: 2}.Graph()
	fmt.Print(graph)
	_, err := schedule.Execute(context.Background(), graph, func(ctx context.Context, t *schedule.Task) error {
		return nil // do what t.Op says to chunk t.Chunk
	})
	fmt.Println(err)
	// Output:
	// compute  ∂shared 0.0    ∂expert 0.0    ∂expert 0.1   ·
	// inter    ∂dispatch 0.0  ∂dispatch 0.1  ∂combine 0.0  ∂combine 0.1
	// <nil>
}

// With costs for each chunk and for all of the rows, four chunks take less time than one.
func ExampleSimulate() {
	costs := &schedule.Costs{
		schedule.Dispatch: {Alpha: 0.5, Beta: 8}, schedule.Combine: {Alpha: 0.5, Beta: 8},
		schedule.Expert: {Alpha: 1, Beta: 16},
	}
	for _, chunks := range []int{1, 4} {
		graph := schedule.Pipeline{Chunks: chunks}.Graph()
		for i := range graph.Tasks {
			graph.Tasks[i].Work = schedule.Work{Starts: 1, Size: 1 / float64(chunks)}
		}
		line := schedule.Simulate(graph, costs)
		fmt.Println(chunks, "chunks:", line.Makespan(), "s")
	}
	// Output:
	// 1 chunks: 34 s
	// 4 chunks: 25 s
}
