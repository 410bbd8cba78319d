package switchyard

import (
	"context"
	"fmt"
)

// Twin returns another layer with the parameters of l, for a second micro-batch in flight: passes
// of the two may run at the same time, each on a goroutine of its own, so that one micro-batch is
// routed, counted and computed while the other's rows travel. Every rank calls it, between steps.
// There may be several. One of them computes at a time: [World.Compute]. Where a pass fails on one
// rank, those of the same layer on other ranks wait for it until their contexts end: cancel the
// others'.
//
// A step with twins has the gradient, and the bits, of their passes one after another on l, l's
// first, then the twins' in the order in which they were made, but for router.GlobalBalance, which
// counts the passes of each twin apart. [Layer.Step] and what else concerns parameters is called on
// l, while no pass of either runs. What a layer finds out by itself each twin does for itself: the
// degree of [Overlap], whether to compress under [Auto], the control loop of lsh.Controlled. The
// degree is better given than found: what a twin times of its passes depends on the other's.
// [Overlap.Background] and [Overlap.Observe] are for l's passes alone; see [Layer.Observe]. A
// router that knows batches by their number, as router.Record and router.Replay do, needs that of
// each micro-batch in [router.Batch].Micro, on twins too.
//
// (Two batches in flight: PipeMoE, Shi et al. 2023; DualPipe, DeepSeek-AI 2024.)
func (l *Layer) Twin() (*Layer, error) {
	if err := l.guard.EnterAll(context.Background(), "Twin"); err != nil {
		return nil, err
	}
	defer l.guard.LeaveAll()
	if err := l.world.beginLayer("Twin"); err != nil {
		return nil, err
	}
	defer l.world.endLayer()
	var t *Layer
	err := l.guard.Attempt("Twin", func() (err error) {
		t, err = l.newTwin()
		return err
	})
	return t, err
}

func (l *Layer) newTwin() (*Layer, error) {
	t := &Layer{cfg: l.cfg, world: l.world, layout: l.layout, steps: l.steps}
	t.guard = l.guard.NewMicroBatch(guarded(t))
	t.label = fmt.Sprintf("%s, twin %d", l.label, len(l.twins)+1)
	l.world.log.Concurrent()
	t.cfg.Overlap.Background, t.cfg.Overlap.Observe = nil, nil
	oneCopy, replicas, err := t.connect()
	if err != nil {
		return nil, err
	}
	if err := t.agree(context.Background()); err != nil {
		return nil, err
	}
	if err := t.build(oneCopy, replicas); err != nil {
		return nil, err
	}
	sets, original := t.sets(), l.sets()
	sets.ShareExperts(&original)
	l.twins, l.twinned, t.twinned = append(l.twins, t), true, true
	l.guard.Add(t.guard)
	l.gradients.Add(t.gradients)
	return t, nil
}

// compute runs do in turn with the other micro-batches in flight, if there may be any.
func (l *Layer) compute(do func()) {
	if l.twinned {
		l.world.Compute(do)
		return
	}
	do()
}
