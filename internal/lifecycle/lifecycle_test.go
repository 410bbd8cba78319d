package lifecycle_test

import (
	"context"
	"errors"
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
		Ended: func(cause error) { r.ended = append(r.ended, cause) },
	}
}

// family returns the guards of a layer and of a micro-batch layer of it.
func family() (layer, micro *lifecycle.Guard, layers, micros *record) {
	layers, micros = new(record), new(record)
	layer = lifecycle.New(layers.config())
	micro = layer.NewMicroBatch(micros.config())
	layer.Add(micro)
	return layer, micro, layers, micros
}

// TestOneMethodAtATime: a layer is in one method, and a method of the parameters needs its
// micro-batch layers idle too. A call that cannot begin leaves the other as it was.
func TestOneMethodAtATime(t *testing.T) {
	layer, micro, _, _ := family()
	ctx := t.Context()
	require.NoError(t, layer.Enter(ctx, "Forward"))
	err := layer.Enter(ctx, "Eval")
	require.ErrorIs(t, err, lifecycle.ErrInUse)
	require.EqualError(t, err, "switchyard: rank 3: Eval: in use by another goroutine: "+
		"the layer, or a micro-batch layer of it, is in Forward")
	require.Equal(t, transport.Rank(3), transport.CulpritOf(err))
	require.NoError(t, micro.Enter(ctx, "Backward"), "they run beside each other")
	layer.Leave()
	require.ErrorContains(t, layer.EnterAll(ctx, "Step"), "is in Backward")
	require.NoError(t, layer.Enter(ctx, "Eval"), "Step has begun nothing")
	layer.Leave()
	micro.Leave()
	require.NoError(t, layer.EnterAll(ctx, "Step"))
	require.ErrorContains(t, micro.Enter(ctx, "Forward"), "is in Step")
	layer.LeaveAll()
	require.NoError(t, micro.Enter(ctx, "Forward"))
	micro.Leave()
	require.ErrorContains(t, micro.EnterAll(ctx, "Step"), "called on a micro-batch layer")
}

// TestALayerThatIsBeingMadeDoesNotCount as one of the family.
func TestALayerThatIsBeingMadeDoesNotCount(t *testing.T) {
	layer := lifecycle.New(new(record).config())
	r := new(record)
	micro := layer.NewMicroBatch(r.config())
	require.NoError(t, micro.Enter(t.Context(), "Forward"))
	require.NoError(t, layer.EnterAll(t.Context(), "Step"))
	why := errors.New("a rank died")
	require.ErrorIs(t, layer.Attempt("Step", func() error { return why }), why)
	require.Empty(t, r.ended)
	require.ErrorIs(t, micro.Enter(t.Context(), "Forward"), lifecycle.ErrFailed)
}

func TestManyGoroutinesOneEnters(t *testing.T) {
	layer, _, _, _ := family()
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
	layer, _, _, _ := family()
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

// TestAFailureEndsTheFamily, once, and later calls repeat it.
func TestAFailureEndsTheFamily(t *testing.T) {
	layer, micro, a, b := family()
	why := errors.New("switchyard: rank 1 is gone")
	err := micro.Attempt("Forward", func() error { return why })
	require.EqualError(t, err, "switchyard: rank 1 is gone")
	require.ErrorIs(t, err, why)
	require.ErrorIs(t, err, lifecycle.ErrFailed)
	require.Equal(t, []string{"Forward"}, b.begun)
	require.Equal(t, []error{why}, a.ended)
	require.Equal(t, []error{why}, b.ended)
	for _, later := range []error{layer.Enter(t.Context(), "Eval"), micro.Enter(t.Context(), "Eval"), layer.EnterAll(t.Context(), "Eval")} {
		require.ErrorIs(t, later, err)
		require.EqualError(t, later, "switchyard: Eval: this layer failed earlier, in Forward: rank 1 is gone")
	}
	second := errors.New("another")
	require.ErrorIs(t, layer.Attempt("Backward", func() error { return second }), second)
	require.Equal(t, []error{why}, a.ended, "the first failure counts")
}

// TestWhatAllRanksAgreeOnIsNoFailure.
func TestWhatAllRanksAgreeOnIsNoFailure(t *testing.T) {
	layer, _, a, _ := family()
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
	layer, _, a, _ := family()
	require.PanicsWithValue(t, "an expert", func() {
		_ = layer.Attempt("Forward", func() error { panic("an expert") })
	})
	require.ErrorContains(t, layer.Enter(t.Context(), "Backward"), "failed earlier, in Forward: it panicked")
	require.Len(t, a.ended, 1)
}

// TestAnOperationOnSeveralFamilies is noted for the first, and its failure ends all of them.
func TestAnOperationOnSeveralFamilies(t *testing.T) {
	for name, do := range map[string]func() error{
		"fails": func() error { return errors.New("a rank died") }, "panics": func() error { panic("an expert") },
		"agrees": func() error { return lifecycle.Agreed(errors.New("another factor")) }, "succeeds": func() error { return nil },
	} {
		first, _, a, _ := family()
		second, micro, b, _ := family()
		attempt := func() { _ = lifecycle.AttemptAll([]*lifecycle.Guard{first, second}, "GradNorm", do) }
		if name == "panics" {
			require.Panics(t, attempt)
		} else {
			attempt()
		}
		require.Equal(t, []string{"GradNorm"}, a.begun)
		require.Empty(t, b.begun)
		for _, g := range []*lifecycle.Guard{first, second, micro} {
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
	layer, micro, _, _ := family()
	const noBackward = "rank 3: Step: there has been no Backward since the last Step"
	require.ErrorContains(t, layer.CheckStep("Step"), noBackward)
	require.NoError(t, layer.CheckNoneWaits("Load"))
	require.NoError(t, layer.CheckBoundary("State"))
	for _, of := range []*lifecycle.Guard{layer, micro} {
		var p lifecycle.Pass
		of.Begin(&p, true)
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
