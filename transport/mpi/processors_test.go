package mpi

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestProcessors(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  float64
	}{
		"nothing to read":           {nil, 8},
		"no quota":                  {map[string]string{"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8},
		"a container of version 2":  {map[string]string{"sys/fs/cgroup/cpu.max": "150000 100000\n", "proc/self/cgroup": "0::/\n"}, 1.5},
		"more than the affinity":    {map[string]string{"sys/fs/cgroup/cpu.max": "1600000 100000\n"}, 8},
		"a group of version 2":      {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "200000 100000\n"}, 2},
		"the group above has less":  {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "200000 100000", "sys/fs/cgroup/a/cpu.max": "50000 100000"}, 0.5},
		"a group beside it":         {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/b/cpu.max": "50000 100000"}, 8},
		"a container of version 1":  {map[string]string{"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 3},
		"version 1 without a quota": {map[string]string{"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 8},
		"a group of version 1": {map[string]string{"proc/self/cgroup": "12:pids:/x\n4:cpu,cpuacct:/docker/1\n1:name=systemd:/x\n",
			"sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us": "100000", "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us": "50000"}, 2},
		"another controller's": {map[string]string{"proc/self/cgroup": "4:cpuset:/x\n", "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "1", "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "1"}, 8},
		"nonsense":             {map[string]string{"proc/self/cgroup": "x\n::\n0::/../../..\n", "sys/fs/cgroup/cpu.max": "many 0"}, 8},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		require.InDelta(t, c.want, processors(root, 8), 1e-9, name)
	}
	require.True(t, isCrowded(2, 1.5))
	require.False(t, isCrowded(2, 2))
}
