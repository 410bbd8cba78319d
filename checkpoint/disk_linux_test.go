package checkpoint_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/param"
)

// TestAFullDisk, a real one where the test may mount it: two checkpoints have room, a third has
// not.
func TestAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	requireNone(t, onRanks(t, 3, func(w *switchyard.World, rank int) error {
		s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir, Keep: 2})
		if err != nil {
			return err
		}
		p := part(param.Entry{Name: fmt.Sprint(rank), Shape: []int{30 << 10}, Data: make([]float32, 30<<10), Writer: true})
		for step := 1; step <= 5; step++ {
			err := errors.Join(s.Save(t.Context(), step, p), s.Wait(t.Context()))
			if full := step >= 3; errors.Is(err, checkpoint.ErrWrite) != full {
				return fmt.Errorf("step %d: %w", step, err)
			}
		}
		return s.Close()
	}))
	complete, incomplete := steps(t, dir)
	require.Equal(t, []string{"step-00000001", "step-00000002"}, complete)
	require.Empty(t, incomplete)
	for _, name := range complete {
		_, err := checkpoint.Verify(filepath.Join(dir, name))
		require.NoError(t, err)
	}
}

// TestAnOldCheckpointThatCannotBeRemoved, since a disk is mounted in it: it is an incomplete folder
// then, and the new one is saved.
func TestAnOldCheckpointThatCannotBeRemoved(t *testing.T) {
	dir := t.TempDir()
	newModel(1, 5).save(t, checkpoint.Config{Dir: dir}, 1, 1)
	busy := filepath.Join(dir, "step-00000001", "aa") // before the files in the order of names
	require.NoError(t, os.Mkdir(busy, 0o777))
	if err := syscall.Mount("tmpfs", busy, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(busy, 0) })
	save := func(w *switchyard.World, rank int) error {
		return saveOn(w, checkpoint.Config{Dir: dir, Keep: 1}, part(entry(fmt.Sprint(rank))), 2)
	}
	for _, err := range onRanks(t, 2, save) {
		require.ErrorIs(t, err, checkpoint.ErrWrite)
		require.ErrorContains(t, err, "step 2 is saved, but an older one could not be removed: ")
		require.ErrorContains(t, err, "rank 0: Save: unlinkat "+busy)
	}
	complete, incomplete := steps(t, dir)
	require.Equal(t, []string{"step-00000002"}, complete)
	require.Equal(t, []string{"step-00000001"}, incomplete)

	for _, err := range onRanks(t, 2, save) { // nor is it now, which keeps nobody from saving
		require.ErrorContains(t, err, "step 2 is saved, but an older one")
	}
	complete, _ = steps(t, dir)
	require.Equal(t, []string{"step-00000002.1"}, complete)
	require.NoError(t, syscall.Unmount(busy, 0))
	requireNone(t, onRanks(t, 2, save))
	complete, incomplete = steps(t, dir)
	require.Equal(t, []string{"step-00000002.2"}, complete)
	require.Empty(t, incomplete)
}

// TestAFolderThatCannotBeSynced, as on some file systems, keeps nobody from saving.
func TestAFolderThatCannotBeSynced(t *testing.T) {
	f, err := os.Open("/proc")
	require.NoError(t, err)
	require.ErrorIs(t, f.Sync(), syscall.EINVAL)
	require.NoError(t, f.Close())
	require.NoError(t, checkpoint.SyncFolder("/proc"))
	require.Error(t, checkpoint.SyncFolder(filepath.Join(t.TempDir(), "none")))
}
