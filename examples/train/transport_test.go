package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"bufio"
	"bytes"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
)

// aloneWorld is a world of one rank.
func aloneWorld(t *testing.T) *switchyard.World {
	t.Helper()
	world, err := switchyard.Join(t.Context(), switchyard.JoinConfig{Size: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, world.Close()) })
	return world
}

// TestTransportsGiveTheSameBits: real processes that talk over each transport end with the bits of
// one rank.
func TestTransportsGiveTheSameBits(t *testing.T) {
	clearLauncher(t)
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Setenv(asProgram, "1")
	text := short(t)
	_, want := trainTiny(t, "-ranks", "1", "-text", text)
	for _, more := range [][]string{
		{"-transport", "hybrid"}, {"-transport", "shm"}, {"-transport", "tcp"}, {"-transport", "grpc"}, {"-transport", "striped"},
		{"-transport", "striped", "-lanes", "1", "-parity", "0"}, {"-transport", "striped", "-lanes", "5", "-parity", "2"},
		{"-transport", "striped", "-ranks", "1"}, {"-transport", "shm", "-ranks", "1"}, {"-transport", "grpc", "-ranks", "1"},
	} {
		out, got := trainTiny(t, append([]string{"-ranks", "3", "-text", text}, more...)...)
		require.Equal(t, want.ParamSHA256, got.ParamSHA256, "%v", more)
		require.Equal(t, want.ValLoss, got.ValLoss, "%v", more)
		over := more[1]
		switch {
		case over == hybridTransport: // which is this within a machine
			over = shmTransport
		case over == stripedTransport && got.Ranks > 1:
			over = "striped(tcp)"
		}
		require.Equal(t, over, got.Transport)
		require.Contains(t, out, fmt.Sprintf("ranks: %d over %s", got.Ranks, over))
	}
}

// TestInterruptOfProcesses: a signal to the program ends all its ranks, and one line tells of it.
func TestInterruptOfProcesses(t *testing.T) {
	clearLauncher(t)
	if testing.Short() {
		t.Skip("starts processes")
	}
	text := short(t)
	for _, transport := range []string{"inproc", "tcp"} {
		for _, c := range []struct {
			signal syscall.Signal
			code   int
			says   string
		}{{syscall.SIGINT, 130, "train: interrupted\n"}, {syscall.SIGTERM, 143, "train: terminated\n"}} {
			exe, err := os.Executable()
			require.NoError(t, err)
			dir := t.TempDir()
			json := filepath.Join(dir, "result.json")
			cmd := exec.Command(exe, tiny("-ranks", "3", "-transport", transport, "-text", text, "-steps", "1000000", "-eval-every", "0", "-json", json)...)
			cmd.Env = append(os.Environ(), asProgram+"=1")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewScanner(out)
			for lines.Scan() && !strings.HasPrefix(lines.Text(), "step ") {
			}
			require.NoError(t, cmd.Process.Signal(c.signal))
			for lines.Scan() {
			}
			require.Error(t, cmd.Wait())
			require.Equal(t, c.code, cmd.ProcessState.ExitCode(), stderr.String())
			require.Equal(t, c.says, stderr.String())
			requireGone(t, text)
			list, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, list)
		}
	}
}

// requireGone requires that within a while no process has a text among its arguments.
func requireGone(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		list, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return false
		}
		for _, file := range list {
			if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(text)) {
				return false
			}
		}
		return true
	}, 10*time.Second, 10*time.Millisecond)
}
