package checkpoint_test

import (
	"context"
	"fmt"
	"os"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// config is the layer of both examples.
var config = switchyard.Config{Dim: 2, Experts: 4, Group: 2, Router: router.TopK{K: 2}, Expert: expert.FFN{Hidden: 3}}

// train makes one step of a layer.
func train(ctx context.Context, layer *switchyard.Layer, adam *expert.Adam) {
	y, err := layer.Forward(ctx, blas32.General{Rows: 2, Cols: 2, Stride: 2, Data: []float32{1, 2, 3, 4}})
	check(err)
	_, err = layer.Backward(ctx, y)
	check(err)
	check(layer.Step(ctx, adam))
}

// Two ranks train a layer and save it with the moments of Adam after each step; the files are
// written while the next step is taken.
func ExampleNewSaver() {
	dir, err := os.MkdirTemp("", "")
	check(err)
	defer func() { _ = os.RemoveAll(dir) }()
	rank := func(end transport.Transport) {
		ctx, world := context.Background(), switchyard.NewWorld(end)
		layer, err := switchyard.NewLayer(world, config)
		check(err)
		saver, err := checkpoint.NewSaver(world, checkpoint.Config{Dir: dir, Keep: 2})
		check(err)
		adam := expert.NewAdam(0.01)
		for step := 1; step <= 3; step++ {
			train(ctx, layer, adam)
			state, err := layer.State(adam)
			check(err)
			check(saver.Save(ctx, step, checkpoint.Part{Name: "moe", State: state}))
		}
		check(saver.Close())
		check(world.Close())
	}
	var ranks sync.WaitGroup
	for _, end := range inproc.New(2) {
		ranks.Go(func() { rank(end) })
	}
	ranks.Wait()
	list, err := checkpoint.List(dir)
	check(err)
	for _, c := range list {
		fmt.Println(c.Step, c.Complete)
	}
	// Output:
	// 2 true
	// 3 true
}

// One rank saves a layer, and two others go on with it.
func ExampleLoad() {
	dir, err := os.MkdirTemp("", "")
	check(err)
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()
	rank := func(end transport.Transport, do func(*switchyard.World, checkpoint.Part)) {
		world := switchyard.NewWorld(end)
		layer, err := switchyard.NewLayer(world, config)
		check(err)
		adam := expert.NewAdam(0.01)
		state, err := layer.State(adam)
		check(err)
		do(world, checkpoint.Part{Name: "moe", State: state})
		train(ctx, layer, adam)
		check(world.Close())
	}
	rank(inproc.New(1)[0], func(world *switchyard.World, moe checkpoint.Part) {
		saver, err := checkpoint.NewSaver(world, checkpoint.Config{Dir: dir, Metadata: map[string]string{"seed": "7"}})
		check(err)
		check(saver.Save(ctx, 40, moe))
		check(saver.Close())
	})
	var ranks sync.WaitGroup
	for number, end := range inproc.New(2) {
		ranks.Go(func() {
			rank(end, func(world *switchyard.World, moe checkpoint.Part) {
				info, err := checkpoint.Load(ctx, world, dir, checkpoint.Options{}, moe)
				check(err)
				if number == 0 {
					fmt.Println("step", info.Step, "saved by", info.Ranks, "rank, seed", info.Metadata["seed"])
				}
			})
		})
	}
	ranks.Wait()
	// Output: step 40 saved by 1 rank, seed 7
}

// alone runs do on a world of one rank with a layer of the given seed.
func alone(seed uint64, do func(ctx context.Context, world *switchyard.World, layer *switchyard.Layer)) {
	world, cfg := switchyard.NewWorld(inproc.New(1)[0]), config
	cfg.Seed = seed
	layer, err := switchyard.NewLayer(world, cfg)
	check(err)
	do(context.Background(), world, layer)
	check(world.Close())
}

// save saves a new layer of the given seed.
func save(dir string, seed uint64) {
	alone(seed, func(ctx context.Context, world *switchyard.World, layer *switchyard.Layer) {
		state, err := layer.State(nil)
		check(err)
		saver, err := checkpoint.NewSaver(world, checkpoint.Config{Dir: dir})
		check(err)
		check(saver.Save(ctx, 10, checkpoint.Part{Name: "moe", State: state}))
		check(saver.Close())
	})
}

// Expert 2 of another training takes the places of two experts of this one.
func ExampleLoadExperts() {
	dir, err := os.MkdirTemp("", "")
	check(err)
	defer func() { _ = os.RemoveAll(dir) }()
	save(dir, 1)
	alone(2, func(ctx context.Context, world *switchyard.World, layer *switchyard.Layer) {
		state, err := layer.State(nil)
		check(err)
		part := checkpoint.Part{Name: "layers.0", State: state}
		info, err := checkpoint.LoadExperts(ctx, world, dir, part, "moe", map[int]int{0: 2, 3: 2})
		check(err)
		fmt.Println(info.Tensors, "tensors of step", info.Step)
	})
	// Output: 8 tensors of step 10
}

// The last checkpoint of a folder is read and compared with its checksums.
func ExampleVerify() {
	dir, err := os.MkdirTemp("", "")
	check(err)
	defer func() { _ = os.RemoveAll(dir) }()
	save(dir, 1)
	last, err := checkpoint.Latest(dir)
	check(err)
	report, err := checkpoint.Verify(last.Path)
	check(err)
	fmt.Println("step", report.Step)
	for _, t := range report.Tensors[:3] {
		fmt.Println(t.Name, t.Shape)
	}
	// Output:
	// step 10
	// moe.counters.steps []
	// moe.experts.0.b1 [3]
	// moe.experts.0.b2 [2]
}
