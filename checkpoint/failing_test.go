package checkpoint_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

var errDisk = errors.New("the disk has failed")

// failing is a file of which one operation fails.
type failing struct {
	checkpoint.File
	op   string
	room int // bytes that can be written
}

func (f *failing) Write(p []byte) (int, error) {
	if f.op != "write" {
		return f.File.Write(p)
	}
	if len(p) <= f.room {
		f.room -= len(p)
		return f.File.Write(p)
	}
	n, _ := f.File.Write(p[:f.room])
	f.room = 0
	return n, errDisk
}

func (f *failing) Sync() error {
	if f.op == "sync" {
		return errDisk
	}
	return f.File.Sync()
}

func (f *failing) Close() error {
	err := f.File.Close()
	if f.op == "close" {
		return errDisk
	}
	return err
}

// failOn makes files, and has an operation of those fail whose path contains a text.
func failOn(op, text string) func(string) (checkpoint.File, error) {
	return func(path string) (checkpoint.File, error) {
		if !strings.Contains(path, text) {
			return checkpoint.CreateFile(path)
		}
		if op == "create" {
			return nil, fmt.Errorf("%s: %w", path, errDisk)
		}
		f, err := checkpoint.CreateFile(path)
		return &failing{f, op, 100}, err
	}
}

// TestASaveThatFails fails on all ranks, which name the rank; it leaves nothing, and later saves
// succeed.
func TestASaveThatFails(t *testing.T) {
	m, l := rows()
	for _, op := range []string{"create", "write", "sync", "close"} {
		for name, culprit := range map[string]transport.Rank{
			"model-00002-of-00003": 1, "training-00003-of-00003": 2, "model.safetensors.index": 0, "training.safetensors.index": 0,
		} {
			for _, noCopy := range []bool{false, true} {
				if noCopy && testing.Short() {
					continue
				}
				t.Run(fmt.Sprintf("%s %s %t", op, name, noCopy), func(t *testing.T) {
					dir := t.TempDir()
					requireNone(t, onRanks(t, 3, func(w *switchyard.World, rank int) error {
						s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir, Keep: 2, NoCopy: noCopy})
						if err != nil {
							return err
						}
						s.SetCreate(failOn(op, filepath.Join("step-00000002", name)))
						p := m.part(l, rank, false)
						if err := s.Save(t.Context(), 1, p); err != nil {
							return err
						}
						if err := failure(t, s, p, noCopy); !errors.Is(err, checkpoint.ErrWrite) || transport.CulpritOf(err) != culprit ||
							!strings.Contains(err.Error(), "step 2: ") || rank == int(culprit) && !errors.Is(err, errDisk) {
							return fmt.Errorf("the failed save gave %w", err)
						}
						if complete, incomplete := steps(t, dir); len(complete) != 1 || len(incomplete) != 0 {
							return fmt.Errorf("after the failure there are %v and %v", complete, incomplete)
						}
						return errors.Join(s.Save(t.Context(), 3, p), s.Close())
					}))
					complete, incomplete := steps(t, dir)
					require.Equal(t, []string{"step-00000001", "step-00000003"}, complete)
					require.Empty(t, incomplete)
					requireNoOthers(t, filepath.Join(dir, "step-00000003"))
				})
			}
		}
	}
}

// failure saves step 2 and returns its failure, which comes out once.
func failure(t *testing.T, s *checkpoint.Saver, p checkpoint.Part, noCopy bool) error {
	err := s.Save(t.Context(), 2, p)
	if !noCopy {
		if err != nil {
			return fmt.Errorf("Save already returned %w", err)
		}
		err = s.Wait(t.Context())
	}
	if again := errors.Join(s.Err(), s.Wait(t.Context())); again != nil {
		return fmt.Errorf("it came out again: %w", again)
	}
	return err
}

// failingFirst begins the save of step 1, which fails where rank 0 puts its file on the disk.
func failingFirst(t *testing.T, w *switchyard.World, dir string) (*checkpoint.Saver, checkpoint.Part, error) {
	p := part(entry(fmt.Sprint(w.Rank())))
	s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir})
	if err != nil {
		return nil, p, err
	}
	s.SetCreate(failOn("sync", filepath.Join("step-00000001", "model-00001")))
	return s, p, s.Save(t.Context(), 1, p)
}

// TestAFailureOfTheSaveBefore comes out of the next one, which has begun all the same.
func TestAFailureOfTheSaveBefore(t *testing.T) {
	dir := t.TempDir()
	requireNone(t, onRanks(t, 2, func(w *switchyard.World, rank int) error {
		s, p, err := failingFirst(t, w, dir)
		if err != nil {
			return err
		}
		if err := s.Save(t.Context(), 2, p); !errors.Is(err, checkpoint.ErrWrite) || !strings.Contains(err.Error(), "step 1: ") {
			return fmt.Errorf("the second save gave %w", err)
		}
		return s.Close()
	}))
	complete, incomplete := steps(t, dir)
	require.Equal(t, []string{"step-00000002"}, complete)
	require.Empty(t, incomplete)
}

// slow is a file whose sync takes long.
type slow struct{ checkpoint.File }

func (f slow) Sync() error {
	<-time.After(3 * time.Second)
	return f.File.Sync()
}

// TestASlowDisk of one rank does not keep others in an operation for longer than the transport
// allows, which would end the job.
func TestASlowDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	ends, err := inproc.Open(inproc.Config{Ranks: 3, OpTimeout: 2 * time.Second})
	require.NoError(t, err)
	dir, errs := t.TempDir(), make([]error, len(ends))
	var all sync.WaitGroup
	for rank, end := range ends {
		all.Go(func() {
			w := switchyard.NewWorld(end)
			s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir})
			if err != nil {
				errs[rank] = err
				return
			}
			s.SetBeat(20 * time.Millisecond)
			if rank == 1 {
				s.SetCreate(func(path string) (checkpoint.File, error) {
					f, err := checkpoint.CreateFile(path)
					return slow{f}, err
				})
			}
			errs[rank] = errors.Join(s.Save(t.Context(), 1, part(entry(fmt.Sprint(rank)))), s.Close(), w.Close())
		})
	}
	all.Wait()
	requireNone(t, errs)
	complete, _ := steps(t, dir)
	require.Equal(t, []string{"step-00000001"}, complete)
}

// TestSaveOfAnOldState: a part that says that its state is not that of now keeps all ranks from
// saving, and a new state can be saved.
func TestSaveOfAnOldState(t *testing.T) {
	m, dir := newModel(1, 4), t.TempDir()
	l := newLayout(1, m, 2)
	requireNone(t, onRanks(t, 2, func(w *switchyard.World, rank int) error {
		s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir})
		if err != nil {
			return err
		}
		old := m.part(l, rank, false)
		old.State.Current = func() error {
			if rank == 0 {
				return nil
			}
			return errors.New("the clock went on")
		}
		err = s.Save(t.Context(), 3, old)
		require.ErrorContains(t, err, "rank 1")
		require.NotErrorIs(t, err, checkpoint.ErrWrite)
		if rank == 1 {
			require.ErrorContains(t, err, "the clock went on")
		}
		require.NoError(t, s.Save(t.Context(), 3, m.part(l, rank, false)))
		return s.Close()
	}))
	list, err := checkpoint.List(dir)
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// TestARefusedSaveIsNoFailedWrite: ErrWrite of Save means that the save has begun, so that of an
// earlier one waits for the next call.
func TestARefusedSaveIsNoFailedWrite(t *testing.T) {
	dir := t.TempDir()
	requireNone(t, onRanks(t, 2, func(w *switchyard.World, rank int) error {
		s, p, err := failingFirst(t, w, dir)
		if err != nil {
			return err
		}
		if err := s.Save(t.Context(), -1, p); err == nil || errors.Is(err, checkpoint.ErrWrite) {
			return fmt.Errorf("the refused save gave %w", err)
		}
		if err := s.Close(); !errors.Is(err, checkpoint.ErrWrite) {
			return fmt.Errorf("Close gave %w", err)
		}
		return nil
	}))
}
