package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Processes that talk over TCP end with the bits of one rank.
func TestProcessesGiveTheSameBits(t *testing.T) {
	clearLauncher(t)
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Setenv(asProgram, "1")
	text := short(t)
	_, want := trainTiny(t, "-ranks", "1", "-text", text)
	for _, ranks := range []int{1, 2, 4} {
		out, got := trainTiny(t, "-ranks", fmt.Sprint(ranks), "-transport", "tcp", "-text", text)
		require.Equal(t, want.ParamSHA256, got.ParamSHA256, "%d ranks", ranks)
		require.Equal(t, want.ValLoss, got.ValLoss, "%d ranks", ranks)
		require.Equal(t, want.DroppedTokens, got.DroppedTokens, "%d ranks", ranks)
		require.Equal(t, 1, strings.Count(out, "held-out loss"), "rank 0 alone prints")
	}
}

// A killed rank, any of them, is named by all others, who exit with an error within a second.
func TestKilledRankIsNamed(t *testing.T) {
	clearLauncher(t)
	if testing.Short() {
		t.Skip("starts processes")
	}
	const ranks = 4
	for victim := range ranks {
		t.Run(fmt.Sprintf("rank=%d", victim), func(t *testing.T) { killOne(t, ranks, victim) })
	}
}

func killOne(t *testing.T, ranks, victim int) {
	job := startRanks(t, ranks, tiny("-text", short(t), "-steps", "1000000", "-eval-every", "0")...)
	job.awaitLine(t, "step ")
	require.NoError(t, job.rank[victim].Process.Kill())
	begin := time.Now()
	for r, cmd := range job.rank {
		err := cmd.Wait()
		if r == victim {
			continue
		}
		require.Error(t, err, "rank %d", r)
		require.Equal(t, failedCode, cmd.ProcessState.ExitCode(), "rank %d: %s", r, &job.stderr[r])
		require.Contains(t, job.stderr[r].String(), fmt.Sprintf("train: rank %d: ", r))
		require.Contains(t, job.stderr[r].String(), fmt.Sprintf("switchyard: rank %d: ", victim))
		require.Equal(t, 1, strings.Count(job.stderr[r].String(), "\n"), "it is said once")
	}
	t.Logf("all had ended after %v", time.Since(begin))
	require.Less(t, time.Since(begin), 15*time.Second, "a second, and more for a busy machine; silence means death after 30 s")
}

// ranksOfJob is processes started as a launcher would.
type ranksOfJob struct {
	rank   []*exec.Cmd
	stderr []bytes.Buffer
	stdout *bufio.Scanner // of rank 0
}

func startRanks(t *testing.T, n int, args ...string) *ranksOfJob {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	job := &ranksOfJob{stderr: make([]bytes.Buffer, n)}
	port := freePort(t)
	for r := range n {
		cmd := exec.Command(exe, args...)
		cmd.Env = append(os.Environ(), asProgram+"=1", fmt.Sprint("RANK=", r), fmt.Sprint("WORLD_SIZE=", n),
			"MASTER_ADDR=127.0.0.1", fmt.Sprint("MASTER_PORT=", port))
		cmd.Stderr = &job.stderr[r]
		if r == 0 {
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			job.stdout = bufio.NewScanner(out)
		}
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		job.rank = append(job.rank, cmd)
	}
	return job
}

// awaitLine reads rank 0's output up to a line that begins with prefix.
func (j *ranksOfJob) awaitLine(t *testing.T, prefix string) {
	t.Helper()
	for j.stdout.Scan() {
		if strings.HasPrefix(j.stdout.Text(), prefix) {
			return
		}
	}
	require.Fail(t, "rank 0 ended early", "%s", &j.stderr[0])
}

// freePort returns a port such that it and the one after it, where ranks meet, are free. Both lie
// below those that the system gives to connections.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		next, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		require.NoError(t, l.Close())
		if err == nil {
			require.NoError(t, next.Close())
			return port
		}
	}
}
