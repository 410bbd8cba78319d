package cpushare

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// write writes a file below a directory.
func write(t *testing.T, text string, path ...string) {
	t.Helper()
	name := filepath.Join(path...)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return string(text)
}

// TestGroups of both versions, in a folder that looks like them.
func TestGroups(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	write(t, "-1", first, "cpu", "cpu.cfs_quota_us")
	write(t, "cpuset cpu io\n", second, "cgroup.controllers")
	one, err := newIn(first, 2, 0.5)
	require.NoError(t, err)
	require.Equal(t, "5000", read(t, one.dir(1), "cpu.cfs_quota_us"))
	require.Equal(t, "10000", read(t, one.dir(1), "cpu.cfs_period_us"))
	two, err := newIn(second, 3, 0.01)
	require.NoError(t, err)
	require.Equal(t, "1000 10000", read(t, two.dir(2), "cpu.max"), "no less than Linux takes")
	require.Equal(t, "+cpu", read(t, second, "cgroup.subtree_control"))

	run := exec.CommandContext(t.Context(), one.Command("sh", "-c", "echo $$")[0], one.Command("sh", "-c", "echo $$")[1:]...)
	run.Env = append(os.Environ(), "RANK=1")
	out, err := run.Output()
	require.NoError(t, err)
	require.Equal(t, read(t, one.dir(1), "cgroup.procs"), string(out), "the program is in the group")
}

func TestNoGroups(t *testing.T) {
	_, err := newIn(t.TempDir(), 2, 0.5)
	require.ErrorContains(t, err, "needs root and control groups of Linux")
	without := t.TempDir()
	write(t, "cpuset io\n", without, "cgroup.controllers")
	_, err = newIn(without, 2, 0.5)
	require.ErrorContains(t, err, "has no cpu controller")
}

// TestRemove removes what was made, also if the last could not be.
func TestRemove(t *testing.T) {
	s := &Shares{prefix: filepath.Join(t.TempDir(), "x."), n: 2}
	require.NoError(t, s.make(0, nil))
	require.NoError(t, s.Remove())
	require.NoDirExists(t, s.dir(0))
	require.NoError(t, s.Remove())
}
