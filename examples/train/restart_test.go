package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/internal/launch"
)

// endless is more steps than a test waits for.
const endless = "100000"

// TestTerminationSaves: after SIGTERM the job saves at the end of a step, on all ranks the same,
// and what goes on from there is as if it had not stopped.
func TestTerminationSaves(t *testing.T) {
	clearLauncher(t)
	if testing.Short() {
		t.Skip("starts processes")
	}
	text := short(t)
	for _, transport := range []string{"inproc", "tcp"} {
		dir := filepath.Join(t.TempDir(), "checkpoints")
		flags := []string{"-text", text, "-steps", endless, "-eval-every", "0"}
		cmd, lines, stderr := startTrain(t, concat(flags, "-ranks", "3", "-transport", transport, "-save", dir, "-save-every", "0")...)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "step ") {
		}
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		last := ""
		for lines.Scan() {
			last = lines.Text()
		}
		require.Error(t, cmd.Wait())
		require.Equal(t, savedCode, cmd.ProcessState.ExitCode(), "%s", stderr)
		require.Empty(t, stderr.String())
		requireGone(t, dir)

		saved, err := checkpoint.Latest(dir)
		require.NoError(t, err)
		require.Contains(t, last, fmt.Sprintf("asked to end: saved after step %d in %s", saved.Step, dir))
		end := fmt.Sprint(saved.Step + 2)
		_, want := trainTiny(t, concat(flags, "-ranks", "2", "-stop-after", end)...)
		_, got := trainTiny(t, concat(flags, "-ranks", "2", "-stop-after", end, "-resume", dir)...)
		require.Equal(t, want.ParamSHA256, got.ParamSHA256)
	}
}

// TestTerminationOfOneRank is enough: all ranks save after the same step, and end.
func TestTerminationOfOneRank(t *testing.T) {
	clearLauncher(t)
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := filepath.Join(t.TempDir(), "checkpoints")
	job := startRanks(t, 3, tiny("-text", short(t), "-steps", endless, "-eval-every", "0", "-save", dir)...)
	job.awaitLine(t, "step ")
	require.NoError(t, job.rank[2].Process.Signal(syscall.SIGTERM))
	job.awaitLine(t, "asked to end: saved after step ")
	for r, cmd := range job.rank {
		require.Error(t, cmd.Wait())
		require.Equal(t, savedCode, cmd.ProcessState.ExitCode(), "rank %d: %s", r, &job.stderr[r])
	}
}

// startTrain starts the program as a process of its own.
func startTrain(t *testing.T, args ...string) (cmd *exec.Cmd, stdout *bufio.Scanner, stderr *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd, stderr = exec.Command(exe, tiny(args...)...), new(bytes.Buffer)
	cmd.Env, cmd.Stderr = append(os.Environ(), asProgram+"=1"), stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, bufio.NewScanner(out), stderr
}

// TestTerminationBeforeAllHaveMet ends a rank that waits for others, with nothing saved.
func TestTerminationBeforeAllHaveMet(t *testing.T) {
	clearLauncher(t)
	if testing.Short() {
		t.Skip("starts processes")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for name, value := range map[string]string{"RANK": "1", "WORLD_SIZE": "2", "SWITCHYARD_ADDR": l.Addr().String()} {
		t.Setenv(name, value)
	}
	dir := filepath.Join(t.TempDir(), "checkpoints")
	cmd, _, stderr := startTrain(t, "-save", dir, "-resume", dir)
	conn, err := l.Accept() // the rank looks for rank 0
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	require.Equal(t, 143, cmd.ProcessState.ExitCode(), "%s", stderr)
}

// TestKilledRankRestarts: when a rank of a launched job is killed, the launcher starts all again,
// and they end with the parameters of a job that nothing befell.
func TestKilledRankRestarts(t *testing.T) {
	clearLauncher(t)
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Setenv(asProgram, "1")
	text, dir := short(t), filepath.Join(t.TempDir(), "checkpoints")
	path := filepath.Join(t.TempDir(), "result.json")
	flags := []string{"-text", text, "-steps", "400", "-eval-every", "0"}
	_, want := trainTiny(t, concat(flags, "-ranks", "1")...)

	var stdout, stderr bytes.Buffer
	restarts := 0
	cfg := launch.Config{Ranks: 3, Stdout: &stdout, Stderr: &stderr, Restarts: 2, OnRestart: func(_ int, failure *launch.ExitError) {
		restarts++
		if failure.Rank != 1 { // a busy launcher may see another rank end first, which has heard of it
			require.Equal(t, failedCode, failure.Code)
			return
		}
		require.Equal(t, 128+9, failure.Code)
	}}
	var err error
	cfg.Command, err = launch.Self(tiny(concat(flags, "-json", path, "-save", dir, "-save-every", "20", "-resume", dir)...)...)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- launch.Run(context.Background(), cfg) }()
	require.Eventually(t, func() bool {
		last, err := checkpoint.Latest(dir)
		return err == nil && last.Step >= 40
	}, time.Minute, time.Millisecond)
	victim, err := os.FindProcess(rankProcess(t, 1, text))
	require.NoError(t, err)
	require.NoError(t, victim.Kill())
	require.NoError(t, <-ended, "%s", &stderr)
	require.Equal(t, 1, restarts)
	require.Contains(t, stdout.String(), "resumed after step ")
	require.Equal(t, want.ParamSHA256, readResult(t, path).ParamSHA256)
}

// rankProcess returns the process that is a rank and has a text among its arguments.
func rankProcess(t *testing.T, rank int, text string) int {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, dir := range list {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if bytes.Contains(line, []byte(text)) && bytes.Contains(env, fmt.Appendf(nil, "\x00RANK=%d\x00", rank)) {
			pid, err := strconv.Atoi(filepath.Base(dir))
			require.NoError(t, err)
			return pid
		}
	}
	require.Fail(t, "no such process")
	return 0
}
