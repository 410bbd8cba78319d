package checkpoint_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
)

// TestFoldersOfTheirOwn: ranks 0 and 1 share a folder under two names, rank 2 has another. Each
// folder has the indexes and the files of its ranks, and the metadata of rank 0.
func TestFoldersOfTheirOwn(t *testing.T) {
	m, l := rows()
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(root, "x"), 0o777))
	require.NoError(t, os.Symlink("x", filepath.Join(root, "link")))
	dirs := []string{filepath.Join(root, "x"), filepath.Join(root, "link"), filepath.Join(root, "y")}
	saving := func(steps ...int) []error {
		return onRanks(t, 3, func(w *switchyard.World, rank int) error {
			said := map[string]string{"rank": fmt.Sprint(rank)}
			return saveOn(w, checkpoint.Config{Dir: dirs[rank], Local: true, Keep: 2, Metadata: said}, m.part(l, rank, false), steps...)
		})
	}
	requireNone(t, saving(1, 2, 3))
	for _, dir := range dirs {
		complete, incomplete := steps(t, dir)
		require.Equal(t, []string{"step-00000002", "step-00000003"}, complete)
		require.Empty(t, incomplete)
	}
	require.Equal(t, []string{
		"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model.safetensors.index.json",
		"training-00001-of-00003.safetensors", "training-00002-of-00003.safetensors", "training.safetensors.index.json",
	}, namesIn(t, filepath.Join(dirs[0], "step-00000003")))
	require.Equal(t, []string{
		"model-00003-of-00003.safetensors", "model.safetensors.index.json", "training-00003-of-00003.safetensors", "training.safetensors.index.json",
	}, namesIn(t, filepath.Join(dirs[2], "step-00000003")))

	loading := func(l layout) []error {
		return onRanks(t, 3, func(w *switchyard.World, rank int) error {
			p := m.part(l, rank, true)
			info, err := checkpoint.Load(t.Context(), w, dirs[rank], checkpoint.Options{Local: true}, p)
			if err != nil {
				return err
			}
			m.requireIn(t, p)
			if info.Step != 3 || info.Metadata["rank"] != "0" {
				return fmt.Errorf("%+v", info)
			}
			return nil
		})
	}
	requireNone(t, loading(l))

	host, err := os.Hostname()
	require.NoError(t, err)
	moved := layout{{2}, {2}, {1}, {1}, {0}, {0}}
	for _, err := range loading(moved) {
		require.ErrorContains(t, err, "model-00001-of-00003.safetensors: no such file or directory: it was written at "+host+":"+dirs[0]+"/step-00000003 (rank 2)")
		require.ErrorContains(t, err, "it was written at "+host+":"+dirs[2]+"/step-00000003 (rank 0)")
	}
	report, err := checkpoint.Verify(filepath.Join(dirs[2], "step-00000003"))
	require.NoError(t, err)
	require.Len(t, report.Tensors, 2)
	require.Len(t, report.Absent, 4)
	require.Equal(t, host+":"+dirs[0]+"/step-00000003", report.Absent["model-00002-of-00003.safetensors"])
	require.NoError(t, os.Remove(filepath.Join(dirs[2], "step-00000003", "training-00003-of-00003.safetensors")))
	_, err = checkpoint.Verify(filepath.Join(dirs[2], "step-00000003"))
	require.ErrorContains(t, err, "1 fault:")
	require.ErrorContains(t, err, "training-00003-of-00003.safetensors", "the file was written here")
}

func namesIn(t *testing.T, folder string) (names []string) {
	t.Helper()
	items, err := os.ReadDir(folder)
	require.NoError(t, err)
	for _, item := range items {
		names = append(names, item.Name())
	}
	return names
}

// TestACheckpointThatIsCompleteForSomeOnly is not taken, and its step can be saved again.
func TestACheckpointThatIsCompleteForSomeOnly(t *testing.T) {
	m, l := rows()
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	saving := func(steps ...int) []error {
		return onRanks(t, 3, func(w *switchyard.World, rank int) error {
			return saveOn(w, checkpoint.Config{Dir: dirs[rank], Local: true, Keep: 2}, m.part(l, rank, false), steps...)
		})
	}
	loading := func(want string) []error {
		return onRanks(t, 3, func(w *switchyard.World, rank int) error {
			p := m.part(l, rank, true)
			info, err := checkpoint.Load(t.Context(), w, dirs[rank], checkpoint.Options{Local: true}, p)
			if err == nil && filepath.Base(info.Path) != want {
				err = errors.New(info.Path)
			}
			return err
		})
	}
	requireNone(t, saving(1, 3))
	require.NoError(t, os.Remove(filepath.Join(dirs[1], "step-00000003", "model.safetensors.index.json")))
	requireNone(t, loading("step-00000001"))
	requireNone(t, saving(2, 3))
	for _, dir := range dirs {
		complete, incomplete := steps(t, dir)
		require.Equal(t, []string{"step-00000002", "step-00000003.1"}, complete)
		require.Empty(t, incomplete)
	}
	requireNone(t, loading("step-00000003.1"))
}
