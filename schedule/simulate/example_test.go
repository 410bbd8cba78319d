package simulate_test

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/simulate"
	"github.com/switchyard-moe/switchyard/schedule/trace"
)

// A layer whose experts take as long as its links is cut into chunks, simulated, and run.
func ExampleChoose() {
	layers := []simulate.Layer{{
		schedule.Dispatch: {Starts: 1, Size: 1 << 20}, // bytes
		schedule.Expert:   {Starts: 2, Size: 1 << 30}, // multiply-adds
		schedule.Combine:  {Starts: 1, Size: 1 << 20},
	}}
	costs := &schedule.Costs{
		schedule.Dispatch: {Alpha: 1e-4, Beta: 1e-8}, schedule.Combine: {Alpha: 1e-4, Beta: 1e-8},
		schedule.Expert: {Alpha: 1e-5, Beta: 2e-11},
	}
	whole := schedule.Simulate(simulate.BuildForward(layers, &simulate.Plan{}), costs)
	plan := simulate.Choose(layers, costs, nil, simulate.Options{})
	graph := simulate.BuildForward(layers, &plan)
	cut := schedule.Simulate(graph, costs)
	fmt.Printf("%d chunks: %s instead of %s\n", plan.ForwardDegrees[0], trace.FormatSeconds(cut.Makespan()), trace.FormatSeconds(whole.Makespan()))
	fmt.Print(trace.Gantt(&cut, 40))

	_, err := schedule.Execute(context.Background(), graph, func(_ context.Context, t *schedule.Task) error {
		return nil // do what t.Op says to chunk t.Chunk
	})
	fmt.Println(err)
	// Output:
	// 8 chunks: 24.5 ms instead of 42.7 ms
	// compute  ··E---E----E---E----E---E---E----E---···
	// inter    >->->->-->->->-->-<-<--<-<-<-<--·<-··<--
	//          0                                24.5 ms
	//          > dispatch, E expert, < combine
	// <nil>
}
