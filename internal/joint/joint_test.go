package joint_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/joint"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// owner has gradients of which the sum of squares is given.
type owner struct {
	comm    *collective.Comm
	squares float64
	reduced int
	scale   float32
	err     error
}

func (o *owner) Comm() *collective.Comm          { return o.comm }
func (o *owner) ReduceAll(context.Context) error { o.reduced++; return o.err }
func (o *owner) Scale(factor float32)            { o.scale = factor }
func (o *owner) Squares() gradients.Squares {
	return gradients.Squares{Held: []gradients.HeldSquares{{Name: "w", Sum: o.squares}}}
}

// newPart returns a part of a world, which has gradients, and its owner.
func newPart(t *testing.T, world any, label string, squares float64) (joint.Part, *owner) {
	ranks := inproc.New(1)
	t.Cleanup(func() { require.NoError(t, ranks[0].Close()) })
	o := &owner{comm: collective.New(ranks[0]), squares: squares}
	g := lifecycle.New(lifecycle.Config{
		Rank:  7,
		Begin: func(string) func(error) error { return func(err error) error { return err } },
		Ended: func(error) {},
	})
	g.BackwardDone()
	return joint.Part{
		Owner: o, Guard: g, World: world, Label: label, Complete: func() error { return nil },
		Joined: func(r transport.Rank) transport.Rank { return r + 7 },
	}, o
}

func enter(t *testing.T, parts ...joint.Part) (*joint.Call, error) {
	return joint.Enter(t.Context(), "Op", len(parts), func(i int) (joint.Part, error) { return parts[i], nil })
}

// TestNormOfSeveralParts is that of one vector, after each part has summed, and scales all.
func TestNormOfSeveralParts(t *testing.T) {
	a, ownsA := newPart(t, 1, "a", 9)
	b, ownsB := newPart(t, 1, "b", 16)
	j, err := enter(t, a, b)
	require.NoError(t, err)
	defer j.Leave()
	n, err := j.Norm(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, 5.0, n.Value)
	require.Equal(t, [2]int{1, 1}, [2]int{ownsA.reduced, ownsB.reduced})
	require.NoError(t, j.NotFinite(n))
	require.NoError(t, j.Agree("factor", n.Said))
	require.NoError(t, j.AgreeHeld(n.Held))
	j.Scale(0.5)
	require.Equal(t, [2]float32{0.5, 0.5}, [2]float32{ownsA.scale, ownsB.scale})
	_, err = enter(t, b)
	require.ErrorIs(t, err, lifecycle.ErrInUse, "until Leave")
}

// TestEnterRefuses what is no vector, and then no part is in use.
func TestEnterRefuses(t *testing.T) {
	a, _ := newPart(t, 1, "a", 9)
	other, _ := newPart(t, 2, "b", 9)
	incomplete, _ := newPart(t, 1, "c", 9)
	why := errors.New("set w has not been summed")
	incomplete.Complete = func() error { return why }
	stepped, _ := newPart(t, 1, "d", 9)
	stepped.Guard.StepDone()
	for want, parts := range map[string][]joint.Part{
		"of no part of a model":               nil,
		"b is of another world than a":        {a, other},
		why.Error():                           {a, incomplete},
		"no Backward since the last Step (d)": {a, stepped},
	} {
		_, err := enter(t, parts...)
		require.ErrorContains(t, err, want)
	}
	_, err := joint.Enter(t.Context(), "Op", 2, func(i int) (joint.Part, error) {
		return []joint.Part{a, {}}[i], []error{nil, why}[i]
	})
	require.ErrorIs(t, err, why)
	j, err := enter(t, a)
	require.NoError(t, err)
	j.Leave()
}

// TestErrorsOnWhichRanksAgree name the rank as it joined, and leave the parts as they were.
func TestErrorsOnWhichRanksAgree(t *testing.T) {
	a, _ := newPart(t, 1, "a", math.Inf(1))
	j, err := enter(t, a)
	require.NoError(t, err)
	defer j.Leave()
	n, err := j.Norm(t.Context())
	require.NoError(t, err)
	for _, err := range []error{
		j.Agree("factor", []float64{1, 1, 2}), j.AgreeHeld([]float64{1, 1, 2}), j.NotFinite(n),
	} {
		require.True(t, lifecycle.AgreedOn(err), "%v", err)
	}
	require.EqualError(t, j.Agree("factor", []float64{1, 1, 2}), (&transport.Error{Rank: 9, Op: "Op",
		Err: errors.New(transport.ErrMismatch.Error() + ": its factor is 2, that of rank 7 is 1")}).Error())
	require.ErrorIs(t, j.NotFinite(n), alltoall.ErrNotFinite)
	require.ErrorContains(t, j.NotFinite(n), "w of a")
}

// TestAFailedCallEndsAllParts, unless ranks agree on the error.
func TestAFailedCallEndsAllParts(t *testing.T) {
	a, ownsA := newPart(t, 1, "a", 9)
	b, _ := newPart(t, 1, "b", 9)
	b.Noted = true
	j, err := enter(t, a, b)
	require.NoError(t, err)
	ownsA.err = errors.New("cable cut")
	require.ErrorIs(t, j.Attempt(func() error { return j.Reduce(t.Context()) }), ownsA.err)
	j.Leave()
	for _, p := range []joint.Part{a, b} {
		_, err := enter(t, p)
		require.ErrorIs(t, err, lifecycle.ErrFailed)
	}
}
