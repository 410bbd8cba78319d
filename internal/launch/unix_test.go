//go:build unix

package launch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOutputKeepsLinesWhole(t *testing.T) {
	var out bytes.Buffer
	cfg := childConfig(t, "talk", 4)
	cfg.Stdout, cfg.Stderr, cfg.Prefix = &out, &out, true
	require.NoError(t, Run(context.Background(), cfg))

	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Len(t, lines, 4*(500+500+1))
	whole := regexp.MustCompile(`^\[(\d)\] (?:out (\d) \d+ x*|err (\d) \d+ y*|bye (\d))$`)
	for _, line := range lines {
		m := whole.FindStringSubmatch(line)
		require.NotNil(t, m, line)
		require.Equal(t, m[1], m[2]+m[3]+m[4], "the prefix names the rank that wrote it")
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	signals := make(chan os.Signal, 1)
	var out bytes.Buffer
	seen := 0
	cfg := childConfig(t, "note signal", 2)
	cfg.Signals = signals
	cfg.Stdout = io.MultiWriter(&out, onWrite(func() {
		if seen++; seen == 2 {
			signals <- syscall.SIGUSR1
		}
	}))
	require.NoError(t, Run(context.Background(), cfg))
	require.Equal(t, 2, strings.Count(out.String(), "got user defined signal 1"))
}

func TestASecondStopEndsRanksThatIgnoreIt(t *testing.T) {
	signals := make(chan os.Signal, 2)
	cfg := childConfig(t, "wait", 1)
	cfg.Command = []string{"sh", "-c", "trap '' INT TERM; echo ready; while :; do read x < /dev/zero; done"}
	cfg.Signals, cfg.Grace = signals, 50*time.Millisecond
	cfg.Stdout = onWrite(func() { signals <- syscall.SIGINT; signals <- syscall.SIGINT })
	require.Equal(t, 128+9, ExitCode(Run(context.Background(), cfg)))
}

func TestASignalsNumberIsInTheExitCode(t *testing.T) {
	err := Run(context.Background(), childConfig(t, "killed", 1))
	require.Equal(t, 128+9, ExitCode(err))
	require.ErrorContains(t, err, "signal: killed")
}

func TestGrandchildrenDieToo(t *testing.T) {
	var out bytes.Buffer
	cfg := childConfig(t, "parent", 3)
	cfg.Stdout = &out
	start := time.Now()
	require.Equal(t, 7, ExitCode(Run(context.Background(), cfg)))
	require.Less(t, time.Since(start), 15*time.Second)
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var pid int
		if _, err := fmt.Sscanf(line, "ready %d", &pid); err == nil {
			requireGone(t, pid)
		}
	}
}

// launcher launches two ranks with a child each, as a test's stand-in for a program that dies.
func launcher() int {
	env := append(os.Environ(), childVariable+"=parent that waits")
	exe, err := os.Executable()
	if err != nil {
		return 2
	}
	return ExitCode(Run(context.Background(), Config{Ranks: 2, Command: []string{exe}, Env: env, Stdout: os.Stdout}))
}

func TestRanksAndTheirChildrenDieWithTheLauncher(t *testing.T) {
	cfg := childConfig(t, "launcher", 1)
	cmd := exec.Command(cfg.Command[0])
	cmd.Env = cfg.Env
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var pids [4]int
	in := bufio.NewReader(out)
	for i := range pids {
		_, err = fmt.Fscanf(in, "ready %d\n", &pids[i])
		require.NoError(t, err)
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	for _, pid := range pids {
		requireGone(t, pid)
	}
}

// requireGone waits until pid is dead; a zombie that init has yet to reap counts as dead.
func requireGone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return true
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && bytes.Contains(stat, []byte(") Z "))
	}, 10*time.Second, 5*time.Millisecond, "process %d lives on", pid)
}
