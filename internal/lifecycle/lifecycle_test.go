package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/transport"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// record is what a guard has told its layer.
type record struct {
	begun []string
	ended []error
}

func (r *record) config() lifecycle.Config {
	return lifecycle.Config{
		Rank: 3,
		Begin: func(op string) func(error) error {
			r.begun = append(r.begun, op)
			return func(err error) error { return err }
		},
		Passes: r,
		Ended:  func(cause error) { r.ended = append(r.ended, cause) },
	}
}

// Made, Over and Begin make it the log of the passes.
func (r *record) Made(number uint64) { r.note(number, "made") }
func (r *record) Over(number uint64) { r.note(number, "over") }
func (r *record) Begin(number uint64, op string) func(error) error {
	r.note(number, op)
	return func(err error) error { return err }
}

func (r *record) note(number uint64, what string) {
	r.begun = append(r.begun, fmt.Sprintf("pass %d: %s", number, what))
}

// newLayer returns the guard of a layer, and what it has told.
func newLayer() (*lifecycle.Guard, *record) {
	r := new(record)
	return lifecycle.New(r.config()), r
}

// newPass returns a pass that the program holds.
func newPass(layer *lifecycle.Guard) *lifecycle.Pass {
	p := new(lifecycle.Pass)
	layer.Begin(p, false)
	return p
}

// TestOneMethodAtATime: a layer is in one method, and so is a pass; a method of the parameters
// needs all of them idle. A call that cannot begin leaves the other as it was.
func TestOneMethodAtATime(t *testing.T) {
	layer, _ := newLayer()
	ctx := t.Context()
	require.NoError(t, layer.Enter(ctx, "Forward"))
	err := layer.Enter(ctx, "Eval")
	require.ErrorIs(t, err, lifecycle.ErrInUse)
	require.EqualError(t, err, "switchyard: rank 3: Eval: in use by another goroutine: the layer is in Forward")
	require.Equal(t, transport.Rank(3), transport.CulpritOf(err))
	one, two := newPass(layer), newPass(layer)
	require.NoError(t, one.Enter(ctx, "Backward"), "they run beside each other")
	require.NoError(t, two.Enter(ctx, "Forward"))
	err = two.Enter(ctx, "Release")
	require.ErrorIs(t, err, lifecycle.ErrInUse)
	require.ErrorContains(t, err, "rank 3: Release: in use by another goroutine: pass 2 is in Forward")
	two.Leave()
	layer.Leave()
	require.ErrorContains(t, layer.EnterAll(ctx, "Step"), "pass 1 is in Backward")
	require.NoError(t, layer.Enter(ctx, "Eval"), "Step has begun nothing")
	layer.Leave()
	one.Leave()
	require.NoError(t, layer.EnterAll(ctx, "Step"))
	require.ErrorContains(t, two.Enter(ctx, "Forward"), "the layer is in Step")
	layer.Leave()
	require.NoError(t, two.Enter(ctx, "Forward"))
}

// TestTheLifeOfAPass: it is numbered, its operations are noted as its own, and none begins after
// its end.
func TestTheLifeOfAPass(t *testing.T) {
	layer, r := newLayer()
	ctx := t.Context()
	var plain lifecycle.Pass
	layer.Begin(&plain, true)
	p := newPass(layer)
	require.Equal(t, []uint64{1, 2}, []uint64{plain.Number(), p.Number()})
	require.NoError(t, plain.Attempt("Forward", func() error { return nil }))
	require.NoError(t, p.Attempt("Forward", func() error { return nil }))
	require.False(t, p.Waits())
	p.ForwardDone()
	require.True(t, p.Waits())
	p.Dropped()
	require.False(t, p.Waits())
	p.End("Backward")
	p.End("Release")
	require.True(t, p.Ended())
	require.ErrorContains(t, p.Enter(ctx, "Forward"), "rank 3: Forward: pass 2: it has ended, by Backward")
	plain.End("Discard")
	require.Equal(t, []string{"NewPass", "pass 2: made", "Forward", "pass 2: Forward", "pass 2: over"}, r.begun)
	require.EqualError(t, new(lifecycle.Pass).Enter(ctx, "Eval"), "switchyard: Eval: the pass was not made by a layer")
}

// TestPassesInFlightAreNamed, the first of them.
func TestPassesInFlightAreNamed(t *testing.T) {
	layer, _ := newLayer()
	var list []*lifecycle.Pass
	for range 9 {
		list = append(list, newPass(layer))
	}
	require.ErrorContains(t, layer.CheckStep("Step"), "rank 3: Step: passes are in flight, with the numbers 1, 2, 3, 4, 5, 6, 7, 8, …; end each")
	for _, p := range list[:7] {
		p.End("Release")
	}
	require.ErrorContains(t, layer.CheckBoundary("State"), "with the numbers 8, 9; end each by Backward or Release")
}

func TestManyGoroutinesOneEnters(t *testing.T) {
	layer, _ := newLayer()
	var wg sync.WaitGroup
	entered := make([]bool, 8)
	for i := range entered {
		wg.Go(func() { entered[i] = layer.Enter(context.Background(), "Forward") == nil })
	}
	wg.Wait()
	n := 0
	for _, in := range entered {
		if in {
			n++
		}
	}
	require.Equal(t, 1, n)
}

func TestContexts(t *testing.T) {
	layer, _ := newLayer()
	//lint:ignore SA1012 a nil context is the mistake
	require.ErrorContains(t, layer.Enter(nil, "Forward"), "rank 3: Forward: the context is nil")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the job is over")
	cancel(why)
	for _, err := range []error{layer.Enter(ctx, "Forward"), layer.EnterAll(ctx, "Step")} {
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, why)
		require.ErrorContains(t, err, "nothing was done, as the context had ended: context canceled: the job is over")
		require.NotErrorIs(t, err, lifecycle.ErrFailed)
	}
	require.NoError(t, layer.Enter(t.Context(), "Forward"))
}

func TestANilGuardPermitsNothing(t *testing.T) {
	var none *lifecycle.Guard
	require.EqualError(t, none.Enter(t.Context(), "Eval"), "switchyard: Eval: the layer was not made by NewLayer")
	require.EqualError(t, none.EnterAll(t.Context(), "Step"), "switchyard: Step: the layer was not made by NewLayer")
}

// TestAFailureEndsTheLayer and its passes, once, and later calls repeat it.
func TestAFailureEndsTheLayer(t *testing.T) {
	layer, r := newLayer()
	one, two := newPass(layer), newPass(layer)
	why := errors.New("switchyard: rank 1 is gone")
	err := one.Attempt("Forward", func() error { return why })
	require.EqualError(t, err, "switchyard: rank 1 is gone")
	require.ErrorIs(t, err, why)
	require.ErrorIs(t, err, lifecycle.ErrFailed)
	require.Equal(t, []error{why}, r.ended)
	for _, later := range []error{layer.Enter(t.Context(), "Eval"), two.Enter(t.Context(), "Eval"), layer.EnterAll(t.Context(), "Eval")} {
		require.ErrorIs(t, later, err)
		require.EqualError(t, later, "switchyard: Eval: this layer failed earlier, in Forward: rank 1 is gone")
	}
	second := errors.New("another")
	require.ErrorIs(t, layer.Attempt("Backward", func() error { return second }), second)
	require.Equal(t, []error{why}, r.ended, "the first failure counts")
}

// TestWhatAllRanksAgreeOnIsNoFailure.
func TestWhatAllRanksAgreeOnIsNoFailure(t *testing.T) {
	layer, a := newLayer()
	why := errors.New("another optimizer")
	for _, cause := range []error{lifecycle.Agreed(why), alltoall.ErrRefused} {
		err := layer.Attempt("Step", func() error { return cause })
		require.Equal(t, cause, err)
		require.True(t, lifecycle.AgreedOn(err))
		require.NoError(t, layer.Enter(t.Context(), "Step"))
		layer.Leave()
	}
	require.ErrorIs(t, lifecycle.Agreed(why), why)
	require.False(t, lifecycle.AgreedOn(why))
	require.False(t, lifecycle.AgreedOn(nil))
	require.NoError(t, layer.Attempt("Step", func() error { return nil }))
	require.Empty(t, a.ended)
}

// TestAPanicEndsTheLayer, and goes on to the caller.
func TestAPanicEndsTheLayer(t *testing.T) {
	layer, a := newLayer()
	require.PanicsWithValue(t, "an expert", func() {
		_ = layer.Attempt("Forward", func() error { panic("an expert") })
	})
	require.ErrorContains(t, layer.Enter(t.Context(), "Backward"), "failed earlier, in Forward: it panicked")
	require.Len(t, a.ended, 1)
}

// TestAnOperationOnSeveralLayers is noted for the first, and its failure ends all of them.
func TestAnOperationOnSeveralLayers(t *testing.T) {
	for name, do := range map[string]func() error{
		"fails": func() error { return errors.New("a rank died") }, "panics": func() error { panic("an expert") },
		"agrees": func() error { return lifecycle.Agreed(errors.New("another factor")) }, "succeeds": func() error { return nil },
	} {
		first, a := newLayer()
		second, b := newLayer()
		attempt := func() { _ = lifecycle.AttemptAll([]*lifecycle.Guard{first, second}, "GradNorm", do) }
		if name == "panics" {
			require.Panics(t, attempt)
		} else {
			attempt()
		}
		require.Equal(t, []string{"GradNorm"}, a.begun)
		require.Empty(t, b.begun)
		for _, g := range []*lifecycle.Guard{first, second} {
			err := g.Enter(t.Context(), "Forward")
			require.Equal(t, name == "fails" || name == "panics", errors.Is(err, lifecycle.ErrFailed), name)
		}
	}
}

// TestTheErrorOfAnOperationMayBeReplaced, by one of ranks that are out of step.
func TestTheErrorOfAnOperationMayBeReplaced(t *testing.T) {
	better := errors.New("out of step")
	var ended error
	layer := lifecycle.New(lifecycle.Config{
		Begin: func(string) func(error) error { return func(error) error { return better } },
		Ended: func(cause error) { ended = cause },
	})
	require.ErrorIs(t, layer.Attempt("Forward", func() error { return errors.New("truncated") }), better)
	require.Equal(t, better, ended)
}

func TestTheTurnOfForwardBackwardAndStep(t *testing.T) {
	layer, _ := newLayer()
	const noBackward = "rank 3: Step: there has been no Backward since the last Step"
	require.ErrorContains(t, layer.CheckStep("Step"), noBackward)
	require.NoError(t, layer.CheckNoneWaits("Load"))
	require.NoError(t, layer.CheckBoundary("State"))
	for range 2 {
		var p lifecycle.Pass
		layer.Begin(&p, true)
		require.ErrorContains(t, layer.CheckNoneWaits("Load"), "rank 3: Load: a Forward has had no Backward")
		require.ErrorContains(t, layer.CheckStep("Step"), "Step: a Forward has had no Backward")
		require.ErrorContains(t, layer.CheckBoundary("State"), "rank 3: State: a Forward has had no Backward")
		p.End("Discard")
		require.ErrorContains(t, layer.CheckStep("Step"), noBackward)
		p.BackwardDone()
		require.NoError(t, layer.CheckStep("Step"))
		require.ErrorContains(t, layer.CheckBoundary("State"), "State: the gradients of 1 backward passes wait; call Step, or DiscardGradients")
		layer.StepDone()
		require.NoError(t, layer.CheckBoundary("State"))
		require.ErrorContains(t, layer.CheckStep("Step"), noBackward)
	}
}
