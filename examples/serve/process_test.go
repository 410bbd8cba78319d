package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
)

// TestLoadWithAKilledRank: twenty clients see right answers, clear errors when a rank is killed,
// and right answers again.
func TestLoadWithAKilledRank(t *testing.T) {
	t.Setenv(asProgram, "1")
	span := "3s"
	if testing.Short() {
		span = "1s"
	}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"-http", loopback.Addr(), "-load", span, "-clients", "20", "-kill", "2"}, &stdout, &stderr)
	require.Zero(t, code, "%s%s", &stdout, &stderr)
	require.Contains(t, stdout.String(), "wrong answers and unclear errors: 0\nrestarts: 1, right answers after the last one: ")
	require.Contains(t, stderr.String(), "switchyard: rank 2: ")
}

// TestAWrongCheckpointEndsTheJob: ranks are not started again, since the flags stay wrong.
func TestAWrongCheckpointEndsTheJob(t *testing.T) {
	t.Setenv(asProgram, "1")
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"-http", loopback.Addr(), "-ranks", "2", "-checkpoint", t.TempDir()}, &stdout, &stderr)
	require.Equal(t, usageCode, code, stderr.String())
	require.Contains(t, stderr.String(), "-part moe -dim 8 -experts 8 -hidden 32: checkpoint: ")
	require.Contains(t, stderr.String(), "no complete checkpoint")
	require.NotContains(t, stderr.String(), "restart")
}

// program is a job of processes.
type program struct {
	*exec.Cmd
	url    string
	stderr bytes.Buffer
	pids   *pidWatch
}

// startProgram starts it and waits until it answers.
func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{Cmd: exec.Command(os.Args[0], append([]string{"-http", "127.0.0.1:0"}, args...)...)}
	p.pids = &pidWatch{to: &p.stderr, pids: map[int]int{}}
	p.Env = append(os.Environ(), asProgram+"=1")
	p.Stderr = lines{p.pids}
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	_, p.url, _ = strings.Cut(strings.TrimSuffix(line, "; try\n"), " on ")
	return p
}

// lines hands over each line by itself.
type lines struct{ to *pidWatch }

func (l lines) Write(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		if _, err := l.to.Write(line); err != nil {
			return 0, err
		}
	}
	return len(text), nil
}

// TestTerminationAnswersWhatIsThere, whichever rank is asked to end, and every process exits with
// 0.
func TestTerminationAnswersWhatIsThere(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	o := flags(t)
	list, err := o.newQuestions(t.Context(), 1, 1)
	require.NoError(t, err)
	for _, rank := range []int{-1, 0, 1} {
		p := startProgram(t, "-ranks", "2", "-delay", "300ms")
		client := newLoadClient(&o, p.url)
		tally := newTally()
		asked := make(chan struct{})
		go func() { client.ask(t.Context(), list[0], tally); close(asked) }()
		p.awaitRequest(t)
		pid := p.Process.Pid
		if rank >= 0 {
			pid = p.awaitPid(rank)
		}
		require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
		<-asked
		client.close()
		require.Len(t, tally.took, 1, "%+v", tally)
		require.NoError(t, p.Wait(), "%s", &p.stderr)
		require.Equal(t, 1, strings.Count(p.stderr.String(), "msg=draining"), "%s", &p.stderr)
		require.Equal(t, 2, strings.Count(p.stderr.String(), "err=<nil>"), "%s", &p.stderr)
	}
}

// awaitPid waits until a rank has joined.
func (p *program) awaitPid(rank int) int {
	for {
		if pid := p.pids.pid(rank); pid != 0 {
			return pid
		}
		runtime.Gosched()
	}
}

// awaitRequest waits until a request is under way.
func (p *program) awaitRequest(t *testing.T) {
	t.Helper()
	for {
		r, err := http.Get(p.url + "/metrics")
		require.NoError(t, err)
		text := new(bytes.Buffer)
		_, err = text.ReadFrom(r.Body)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		if strings.Contains(text.String(), "serve_requests_open 1\n") {
			return
		}
	}
}

// TestIdleJobNoticesADeadRank, and ends with an error if it may not start again. Before that it has
// been idle for many times the silence after which a rank counts as dead.
func TestIdleJobNoticesADeadRank(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	p := startProgram(t, "-ranks", "3", "-restarts", "0", "-dead-after", "200ms")
	p.ask(t)
	time.Sleep(time.Second) // sleep-ok: idle, which is the test
	p.ask(t)
	require.NoError(t, syscall.Kill(p.awaitPid(1), syscall.SIGKILL))
	require.Error(t, p.Wait())
	require.NotZero(t, p.ProcessState.ExitCode())
	require.Contains(t, p.stderr.String(), "rank 1: ")
}

// ask evaluates a token.
func (p *program) ask(t *testing.T) {
	t.Helper()
	r, err := http.Post(p.url+evalPath, "application/json", strings.NewReader(`{"tokens":[[1,2,3,4,5,6,7,8]]}`))
	require.NoError(t, err)
	var got tokensJSON
	require.NoError(t, json.NewDecoder(r.Body).Decode(&got))
	require.NoError(t, r.Body.Close())
	require.Len(t, got.Tokens, 1)
}
