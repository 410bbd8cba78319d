package switchyard_test

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// Six ranks are cut into a group that trains, of four ranks, and one that evaluates. Each group has
// collectives of its own, over its ranks, which it numbers from 0.
func ExampleWorld_Group() {
	train, evaluate := []transport.Rank{0, 1, 2, 3}, []transport.Rank{4, 5}
	onRanks(6, func(world *switchyard.World) error {
		members := train
		if world.Rank() >= 4 {
			members = evaluate
		}
		group, err := world.Group(members)
		if err != nil {
			return err
		}
		sum := []float32{float32(world.Rank())}
		if err := group.Comm().AllReduce(context.Background(), sum); err != nil {
			return err
		}
		if group.Rank() == 0 {
			fmt.Printf("group of %d: the sum of its ranks is %v\n", group.Size(), sum[0])
		}
		return nil
	})
	// Unordered output:
	// group of 4: the sum of its ranks is 6
	// group of 2: the sum of its ranks is 9
}

// Eight ranks are two pipeline stages. Each has a layer on its four ranks: two copies of the
// experts (dp), each spread over two ranks (ep).
func ExampleNewMesh() {
	onRanks(8, func(world *switchyard.World) error {
		mesh, err := switchyard.NewMesh(world,
			switchyard.Axis{Name: "pp", Size: 2}, switchyard.Axis{Name: "dp"}, switchyard.Axis{Name: "ep", Size: 2})
		if err != nil {
			return err
		}
		stage, err := mesh.World("dp", "ep")
		if err != nil {
			return err
		}
		layer, err := switchyard.NewLayer(stage, switchyard.Config{
			Dim: 2, Experts: 4, ExpertParallel: mesh.Size("ep"), Group: 1,
			Router: router.TopK{K: 1}, Expert: expert.SwiGLU{Hidden: 4},
		})
		if err != nil {
			return err
		}
		x := blas32.General{Rows: 1, Cols: 2, Stride: 2, Data: []float32{1, float32(world.Rank())}}
		y, err := layer.Eval(context.Background(), x)
		if err != nil {
			return err
		}
		if stage.Rank() == 0 {
			fmt.Printf("stage %d of %v: %d ranks, %d × %d answers\n", mesh.Coord("pp"), mesh, stage.Size(), y.Rows, y.Cols)
		}
		return nil
	})
	// Unordered output:
	// stage 0 of pp=2 × dp=2 × ep=2: 4 ranks, 1 × 2 answers
	// stage 1 of pp=2 × dp=2 × ep=2: 4 ranks, 1 × 2 answers
}

// Two ranks have unequal machines: the first hosts three of four experts. It is said once, for all
// layers, and so is which ranks share a node.
func ExampleWorld_SetMachine() {
	onRanks(2, func(world *switchyard.World) error {
		if err := world.SetMachine(switchyard.Machine{Topology: world.Topology(), Hosted: []int{3, 1}}); err != nil {
			return err
		}
		layer, err := switchyard.NewLayer(world, switchyard.Config{
			Dim: 2, Experts: 4, Group: 1, Router: router.TopK{K: 4}, Expert: expert.SwiGLU{Hidden: 4},
		})
		if err != nil {
			return err
		}
		if _, err := layer.Eval(context.Background(), blas32.General{Rows: 1, Cols: 2, Stride: 2, Data: []float32{1, 2}}); err != nil {
			return err
		}
		stats := layer.Stats()
		fmt.Printf("rank %d has the experts from %d on, with the loads %d\n", world.Rank(), stats.FirstExpert, stats.Load)
		return nil
	})
	// Unordered output:
	// rank 0 has the experts from 0 on, with the loads [2 2 2]
	// rank 1 has the experts from 3 on, with the loads [2]
}

// Experts 0 and 3 are hot, and stand on different ranks. Outputs have the bits of any other order.
func ExampleConfig_order() {
	onRanks(2, func(world *switchyard.World) error {
		layer, err := switchyard.NewLayer(world, switchyard.Config{
			Dim: 2, Experts: 4, Group: 1, Router: router.TopK{K: 4}, Expert: expert.SwiGLU{Hidden: 4},
			Hosted: []int{2, 2}, Order: []int{0, 2, 3, 1}, // as balance.Hosting returns them
		})
		if err != nil {
			return err
		}
		state, err := layer.State(nil)
		if err != nil {
			return err
		}
		for _, e := range state.Entries {
			if strings.HasPrefix(e.Name, "experts.") && strings.HasSuffix(e.Name, ".w_gate") {
				fmt.Printf("rank %d has %s\n", world.Rank(), e.Name)
			}
		}
		return nil
	})
	// Unordered output:
	// rank 0 has experts.0.w_gate
	// rank 0 has experts.2.w_gate
	// rank 1 has experts.3.w_gate
	// rank 1 has experts.1.w_gate
}

// onRanks runs do on n ranks of this process. Separate processes call switchyard.Join instead.
func onRanks(n int, do func(world *switchyard.World) error) {
	var ranks sync.WaitGroup
	for _, end := range inproc.New(n) {
		ranks.Go(func() {
			world := switchyard.NewWorld(end)
			defer world.Close()
			if err := do(world); err != nil {
				fmt.Println(err)
			}
		})
	}
	ranks.Wait()
}
