package checkpoint_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

// steps are the complete checkpoints of a folder, by the names of their folders.
func steps(t *testing.T, dir string) (complete, incomplete []string) {
	t.Helper()
	list, err := checkpoint.List(dir)
	require.NoError(t, err)
	for _, c := range list {
		if c.Complete {
			complete = append(complete, filepath.Base(c.Path))
		} else {
			incomplete = append(incomplete, filepath.Base(c.Path))
		}
	}
	return complete, incomplete
}

func TestTheLastOnesAreKept(t *testing.T) {
	for keep, want := range map[int][]string{
		0: {"step-00000001", "step-00000002", "step-00000030", "step-100000000"},
		1: {"step-100000000"},
		3: {"step-00000002", "step-00000030", "step-100000000"},
	} {
		dir := t.TempDir()
		newModel(1, 5).save(t, checkpoint.Config{Dir: dir, Keep: keep}, 2, 1, 2, 30, 100000000)
		complete, incomplete := steps(t, dir)
		require.Equal(t, want, complete, "keep %d", keep)
		require.Empty(t, incomplete)
	}
}

// TestAStepThatIsSavedAgain has the new state; the old one is removed only afterwards.
func TestAStepThatIsSavedAgain(t *testing.T) {
	dir := t.TempDir()
	newModel(1, 5).save(t, checkpoint.Config{Dir: dir}, 2, 1, 2)
	again := newModel(2, 7)
	again.save(t, checkpoint.Config{Dir: dir}, 3, 2)
	complete, _ := steps(t, dir)
	require.Equal(t, []string{"step-00000001", "step-00000002.1"}, complete)
	p := again.part(newLayout(1, again, 1), 0, true)
	requireNone(t, onRanks(t, 1, func(w *switchyard.World, _ int) error {
		_, err := checkpoint.Load(t.Context(), w, dir, checkpoint.Options{}, p)
		return err
	}))
	again.requireIn(t, p)
	again.save(t, checkpoint.Config{Dir: dir, Keep: 2}, 1, 2, 2)
	complete, _ = steps(t, dir)
	require.Equal(t, []string{"step-00000001", "step-00000002.3"}, complete)
}

func TestAStepBeforeTheLatestIsRefused(t *testing.T) {
	dir := t.TempDir()
	m := newModel(1, 5)
	m.save(t, checkpoint.Config{Dir: dir}, 1, 30)
	for _, err := range onRanks(t, 2, func(w *switchyard.World, rank int) error {
		return saveOn(w, checkpoint.Config{Dir: dir}, m.part(newLayout(1, m, 2), rank, false), 20)
	}) {
		require.ErrorContains(t, err, "step 20 is before step 30, which "+dir+" has")
	}
	complete, incomplete := steps(t, dir)
	require.Equal(t, []string{"step-00000030"}, complete)
	require.Empty(t, incomplete)
}

// TestWhatIsNotASavesOwn stays where it is; what an interrupted save has left does not.
func TestWhatIsNotASavesOwn(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{"step-1", "step-00000001x", "other", "step-00000003", "step-00000004.2", "step-00000005.0", "step-00000006.1"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, folder), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(dir, folder, "model-00001-of-00002.safetensors.tmp"), []byte("x"), 0o666))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "step-00000009"), nil, 0o666))
	_, incomplete := steps(t, dir)
	require.Equal(t, []string{"step-00000003", "step-00000004.2", "step-00000006.1"}, incomplete)
	_, err := checkpoint.Latest(dir)
	require.ErrorIs(t, err, checkpoint.ErrNone)

	newModel(1, 5).save(t, checkpoint.Config{Dir: dir}, 2, 7)
	items, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, item := range items {
		names = append(names, item.Name())
	}
	require.Equal(t, []string{"other", "step-00000001x", "step-00000005.0", "step-00000007", "step-00000009", "step-1"}, names)
}

func TestAFolderThatDoesNotExist(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	complete, incomplete := steps(t, dir)
	require.Empty(t, complete)
	require.Empty(t, incomplete)
	_, err := checkpoint.Latest(dir)
	require.ErrorIs(t, err, checkpoint.ErrNone)
	require.ErrorContains(t, err, dir)
	for _, err := range onRanks(t, 3, func(w *switchyard.World, _ int) error {
		_, err := checkpoint.Load(t.Context(), w, dir, checkpoint.Options{})
		return err
	}) {
		require.ErrorIs(t, err, checkpoint.ErrNone)
	}
}

// TestALinkInTheWay: neither it nor the checkpoint that it leads to is touched.
func TestALinkInTheWay(t *testing.T) {
	dir, other := t.TempDir(), saved(t, entry("a"))
	link := filepath.Join(dir, "step-00000007")
	require.NoError(t, os.Symlink(filepath.Join(other, "step-00000005"), link))
	for _, err := range saveEach(t, dir, 7, part(entry("b")), part(entry("c"))) {
		require.ErrorIs(t, err, checkpoint.ErrWrite)
		require.ErrorContains(t, err, link+" is in the way, and no folder")
	}
	require.Len(t, namesIn(t, link), 2)
	report, err := checkpoint.Verify(link)
	require.NoError(t, err)
	require.Equal(t, 5, report.Step)
	requireNone(t, saveEach(t, dir, 8, part(entry("b")), part(entry("c"))))
}

// TestASingleStepThatIsNotThere is no reason to start from the beginning.
func TestASingleStepThatIsNotThere(t *testing.T) {
	dir := saved(t, entry("a"))
	incomplete, missing := filepath.Join(dir, "step-00000006"), filepath.Join(dir, "step-00000007.1")
	require.NoError(t, os.Mkdir(incomplete, 0o777))
	for _, path := range []string{incomplete, missing} {
		_, err := load(t, path, checkpoint.Options{}, entry("a"))
		require.ErrorContains(t, err, path+" has no checkpoint, or one that is incomplete")
		require.NotErrorIs(t, err, checkpoint.ErrNone)
	}
}

// TestSavesIntoACheckpoint would not be found by a load of that folder.
func TestSavesIntoACheckpoint(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "model.safetensors"), map[string][]byte{"a": {1, 2}})
	for _, dir := range []string{dir, filepath.Join(saved(t, entry("a")), "step-00000005"), filepath.Join(dir, "model.safetensors")} {
		for _, err := range saveEach(t, dir, 1, part(entry("a")), part()) {
			require.ErrorContains(t, err, "Config.Dir "+dir+" is a checkpoint itself")
		}
	}
	require.Equal(t, []string{"model.safetensors"}, namesIn(t, dir))
}

// TestFoldersAreMade below one that may not be read.
func TestFoldersAreMade(t *testing.T) {
	above := t.TempDir()
	dir := filepath.Join(above, "1", "2")
	requireNone(t, saveEach(t, dir, 1, part(entry("a"))))
	if os.Geteuid() == 0 {
		return // who may read everything
	}
	require.NoError(t, os.Chmod(above, 0o311))
	t.Cleanup(func() { require.NoError(t, os.Chmod(above, 0o777)) })
	for _, dir := range []string{filepath.Join(above, "1"), filepath.Join(above, "3", "4")} {
		requireNone(t, saveEach(t, dir, 1, part(entry("a"))))
	}
}

// requireNoOthers demands that a folder holds the files that its indexes name, and no others.
func requireNoOthers(t *testing.T, folder string) {
	t.Helper()
	want := []string{}
	for _, name := range []string{"model.safetensors.index.json", "training.safetensors.index.json"} {
		if x, err := safetensors.ReadIndex(filepath.Join(folder, name)); err == nil {
			want = append(append(want, name), x.Files()...)
		}
	}
	items, err := os.ReadDir(folder)
	require.NoError(t, err)
	var names []string
	for _, item := range items {
		names = append(names, item.Name())
	}
	require.ElementsMatch(t, want, names)
}
