package switchyard

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/routing"
)

// microBatches are the micro-batch layers of a layer.
type microBatches struct {
	label  string // what errors call the layer itself: "layer 1"
	layers []*Layer
	turn   lifecycle.Turn // of computing, if the layer has some or is one
}

// routing lists their stages that route.
func (m *microBatches) routing() []*routing.Stage {
	list := make([]*routing.Stage, len(m.layers))
	for i, l := range m.layers {
		list[i] = l.stages.Routing
	}
	return list
}

// NewMicroBatch returns another layer with the parameters of l, a micro-batch layer, for a second
// micro-batch in flight: passes of the two may run at the same time, each on a goroutine of its
// own, so that one micro-batch is routed, counted and computed while the rows of the other travel.
// Every rank calls it, between steps. There may be several. They compute in turn: [World.Compute].
// If a pass fails on one rank, the passes of the same layer on other ranks wait for it until their
// contexts end: cancel the others'.
//
// A step has the gradient, and the bits, of all passes one after another on l: l's first, then
// those of the micro-batch layers in the order in which they were made. An exception is
// router.GlobalBalance, which counts the passes of each of them apart. [Layer.Step] and what else
// concerns parameters is called on l, while no pass of either runs.
//
// What a layer finds out by itself each micro-batch layer finds out for itself: the degree of
// [Overlap], whether to compress under [CompressAuto], the control loop of lsh.Controlled. The
// degree is better given than found, since what one of them times of its passes depends on the
// others. [Overlap.Background] and [Overlap.Observe] are for l's passes alone; see [Layer.Observe].
// A router that identifies batches by their number, as router.Record and router.Replay do, needs
// the number of each micro-batch in [router.Batch].Micro, on micro-batch layers too.
//
// (Two batches in flight: PipeMoE, Shi et al. 2023; DualPipe, DeepSeek-AI 2024.)
func (l *Layer) NewMicroBatch() (*Layer, error) {
	if err := l.guard.EnterAll(context.Background(), "NewMicroBatch"); err != nil {
		return nil, err
	}
	defer l.guard.LeaveAll()
	if err := l.world.beginLayer("NewMicroBatch"); err != nil {
		return nil, err
	}
	defer l.world.building.Unlock()
	var t *Layer
	err := l.guard.Attempt("NewMicroBatch", func() (err error) {
		t, err = l.newMicroBatch()
		return err
	})
	return t, err
}

func (l *Layer) newMicroBatch() (*Layer, error) {
	l.world.ops.Log.Concurrent()
	cfg := l.cfg
	cfg.Overlap.Background, cfg.Overlap.Observe = nil, nil
	b := newBuilder(l.world, cfg, fmt.Sprintf("%s, micro-batch layer %d", l.micro.label, len(l.micro.layers)+1))
	t := b.l
	t.guard, t.stages.Shape.Step = l.guard.NewMicroBatch(b.guarded()), l.stages.Shape.Step
	if err := b.build(cfg.settings()); err != nil {
		return nil, err
	}
	t.table.Sets().ShareExperts(l.table.Sets())
	l.micro.layers = append(l.micro.layers, t)
	l.guard.Add(t.guard)
	l.stages.Gradients.Add(t.stages.Gradients)
	return t, nil
}
