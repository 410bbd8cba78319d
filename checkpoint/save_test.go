package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport"
)

func TestConfigurationsThatCannotBe(t *testing.T) {
	onRanks(t, 1, func(w *switchyard.World, _ int) error {
		_, err := checkpoint.NewSaver(w, checkpoint.Config{Keep: -1, BytesPerSecond: -2, Metadata: map[string]string{"k": strings.Repeat("\xff", 1<<20)}})
		require.EqualError(t, err, `checkpoint: Config.Dir is empty, want a folder
checkpoint: Config.Keep is -1, want at least 0
checkpoint: Config.BytesPerSecond is -2, want at least 0
checkpoint: Config.Metadata["k"] is not UTF-8, which the files are
checkpoint: Config.Metadata has 1048577 bytes, can have 1048576`)
		return nil
	})
}

// TestEntriesThatCannotBe are all listed, on each rank, before anything is written.
func TestEntriesThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	bad := part(
		entry("twice"), entry("twice"), entry(""), entry("__metadata__"), entry("\xff"), entry(strings.Repeat("n", 5000)),
		param.Entry{Name: "type", Data: []int32{1}}, param.Entry{Name: "shape", Shape: []int{3}, Data: []float64{1}},
		param.Entry{Name: "negative", Shape: []int{-1}, Data: []float64{}}, param.Entry{Name: "huge", Shape: []int{math.MaxInt, 2}, Data: []float64{}},
		param.Entry{Name: "role", Role: 2, Data: []byte{1}},
	)
	for rank, err := range onRanks(t, 2, func(w *switchyard.World, rank int) error {
		if rank == 1 {
			return saveOn(w, checkpoint.Config{Dir: dir}, part(entry("fine")), 3)
		}
		s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir})
		if err != nil {
			return err
		}
		return s.Save(t.Context(), 3, bad, checkpoint.Part{Name: "none"})
	}) {
		require.EqualValues(t, 0, transport.CulpritOf(err), "rank %d", rank)
		for _, want := range []string{
			"the state cannot be saved or loaded, 11 faults:", `entry "twice" is there twice`, `entry "" has a name that is not allowed`,
			`entry "__metadata__" has a name`, `entry "\xff" has a name that is not UTF-8`, "has a name of 5000 bytes, can have 4096",
			`entry "type" has data of type []int32, want []float32, []float64, []int64 or []byte`, `entry "shape" has 1 elements, and the shape [3]`,
			`entry "negative" has the shape [-1]`, `entry "huge" has the shape [`, `entry "role" has 2 as its role`, `part 1 ("none") has no State`,
		} {
			require.ErrorContains(t, err, want, "rank %d", rank)
		}
	}
	complete, incomplete := steps(t, dir)
	require.Empty(t, append(complete, incomplete...))
}

// saveEach saves one part on each rank.
func saveEach(t *testing.T, dir string, step int, parts ...checkpoint.Part) []error {
	return onRanks(t, len(parts), func(w *switchyard.World, rank int) error {
		return saveOn(w, checkpoint.Config{Dir: dir}, parts[rank], step)
	})
}

func TestATensorWithTwoWriters(t *testing.T) {
	dir := t.TempDir()
	for _, err := range saveEach(t, dir, 1, part(entry("a"), entry("b")), part(entry("b"))) {
		require.ErrorIs(t, err, checkpoint.ErrWrite)
		require.ErrorContains(t, err, `tensor "b" is written by rank 0 and by rank 1`)
	}
	complete, incomplete := steps(t, dir)
	require.Empty(t, append(complete, incomplete...))
}

func TestATensorWithoutAWriter(t *testing.T) {
	b := entry("b")
	b.Writer = false
	for _, err := range saveEach(t, t.TempDir(), 1, part(entry("a")), part(b)) {
		require.ErrorIs(t, err, checkpoint.ErrWrite)
		require.ErrorContains(t, err, `tensor "b", which rank 1 holds, is written by no rank`)
	}
}

func TestNothingToSave(t *testing.T) {
	moments := entry("m")
	moments.Role = param.Training
	for _, err := range saveEach(t, t.TempDir(), 1, part(moments), part()) {
		require.EqualError(t, err, "checkpoint: Save: no rank has a parameter to write")
	}
}

func TestRanksAtOtherSteps(t *testing.T) {
	for _, err := range onRanks(t, 3, func(w *switchyard.World, rank int) error {
		return saveOn(w, checkpoint.Config{Dir: t.TempDir()}, part(), 7+rank/2)
	}) {
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.EqualValues(t, 2, transport.CulpritOf(err))
		require.ErrorContains(t, err, "it saves step 8 with Config.Local=false, rank 0 step 7")
	}
	for _, err := range onRanks(t, 2, func(w *switchyard.World, rank int) error {
		return saveOn(w, checkpoint.Config{Dir: t.TempDir(), Local: rank == 0}, part(), 7)
	}) {
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.ErrorContains(t, err, "rank 1: Save: ranks disagree about the job: it saves step 7 with Config.Local=false, rank 0 step 7 with true")
	}
	for _, err := range onRanks(t, 2, func(w *switchyard.World, rank int) error {
		return saveOn(w, checkpoint.Config{Dir: t.TempDir()}, part(), -rank)
	}) {
		require.ErrorContains(t, err, "rank 1: Save: step is -1, want at least 0")
	}
}

// TestTheStateMayChangeAfterSave: what is written is the copy.
func TestTheStateMayChangeAfterSave(t *testing.T) {
	dir, e := t.TempDir(), entry("a")
	requireNone(t, onRanks(t, 1, func(w *switchyard.World, _ int) error {
		s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir, BytesPerSecond: 1})
		require.NoError(t, err)
		big := entry("big") // of two pieces: the limit has the second one wait
		big.Shape, big.Data = []int{1 << 19}, make([]float32, 1<<19)
		require.NoError(t, s.Save(t.Context(), 1, part(e, big)))
		clear(e.Data.([]float32))

		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // of the limit's 12 days
		defer cancel()
		require.ErrorIs(t, s.Wait(ctx), context.DeadlineExceeded)
		require.ErrorIs(t, s.Save(ctx, 2, part(e)), context.DeadlineExceeded)
		require.NoError(t, s.Err())
		require.NoError(t, s.Close(), "without the limit")
		require.NoError(t, s.Close())
		require.ErrorContains(t, s.Save(t.Context(), 3, part(e)), "closed")
		return nil
	}))
	complete, _ := steps(t, dir)
	require.Equal(t, []string{"step-00000001"}, complete)
	_, err := load(t, dir, checkpoint.Options{AllowExtra: []string{"big"}}, e)
	require.NoError(t, err)
	require.Equal(t, entry("a").Data, e.Data)
}

// TestARankThatIsGone breaks the savers of the others: they can only be closed.
func TestARankThatIsGone(t *testing.T) {
	dir := t.TempDir()
	requireNone(t, onRanks(t, 3, func(w *switchyard.World, rank int) error {
		s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir})
		require.NoError(t, err)
		if err := errors.Join(s.Save(t.Context(), 1, part(entry(fmt.Sprint(rank)))), s.Wait(t.Context())); err != nil || rank == 2 {
			return err
		}
		for range 2 {
			err := errors.Join(s.Save(t.Context(), 2, part(entry(fmt.Sprint(rank)))), s.Wait(t.Context()))
			if !errors.Is(err, transport.ErrPeerClosed) || errors.Is(err, checkpoint.ErrWrite) {
				return fmt.Errorf("the error is %w", err)
			}
		}
		return s.Close()
	}))
	complete, _ := steps(t, dir)
	require.Equal(t, []string{"step-00000001"}, complete)
}
