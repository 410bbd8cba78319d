//go:build unix

package processtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
)

// Addr is the variable of a child process that holds the address at which the ranks meet.
const Addr = "SWITCHYARD_TEST_ADDR"

const (
	childRank = "SWITCHYARD_TEST_RANK"
	childEnd  = "SWITCHYARD_TEST_END"
	childDead = "SWITCHYARD_TEST_DEAD"
	childSize = 4
)

// Limits of silence for children: one that does not end before the death of a process must have
// been found by its connections, on a busy machine too, and one that is waited for.
const (
	longSilence, namedSooner = 2 * time.Minute, time.Minute
	shortSilence             = 3 * time.Second
)

// Job is what a child joins.
type Job struct {
	Rank                 transport.Rank
	Size                 int
	Addr                 string
	Heartbeat, DeadAfter time.Duration
}

// Child is not a test of its own: it is what [Killed] and [Stopped] start as processes. It
// exchanges messages over the transport that join returns until that fails, and reports which rank
// the error names.
func Child(t *testing.T, join func(ctx context.Context, j Job) (transport.Transport, error)) {
	rank, err := strconv.Atoi(os.Getenv(childRank))
	if err != nil {
		t.Skip("only as a child process")
	}
	deadAfter, err := time.ParseDuration(os.Getenv(childDead))
	require.NoError(t, err)
	tr, err := join(context.Background(), Job{
		transport.Rank(rank), childSize, os.Getenv(Addr), 50 * time.Millisecond, deadAfter,
	})
	require.NoError(t, err)
	err = exchangeUntilItFails(tr)
	fmt.Printf("culprit %d %v\n", transport.CulpritOf(err), err)
	if os.Getenv(childEnd) == "exit" {
		os.Exit(0) // as a program that dies of the error and never closes
	}
	require.NoError(t, tr.Close())
}

// exchangeUntilItFails says "ready" after some rounds, and returns the error of the last one.
func exchangeUntilItFails(tr transport.Transport) error {
	var sends, recvs []transport.Message
	for p := range transport.Rank(childSize) {
		if p != tr.Rank() {
			sends = append(sends, transport.Message{Peer: p, Bufs: [][]byte{make([]byte, 200<<10)}})
			recvs = append(recvs, transport.Message{Peer: p, Bufs: [][]byte{make([]byte, 200<<10)}})
		}
	}
	for round := 0; ; round++ {
		if round == 20 {
			fmt.Println("ready")
		}
		if err := transport.Exchange(context.Background(), tr, sends, recvs); err != nil {
			return err
		}
	}
}

// child is one rank as a process.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startChildren(t *testing.T, end string, deadAfter time.Duration) []*child {
	addr := loopback.Addr()
	children := make([]*child, childSize)
	for r := range children {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
		cmd.Env = append(os.Environ(), Addr+"="+addr, childRank+"="+strconv.Itoa(r), childEnd+"="+end,
			childDead+"="+deadAfter.String())
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		children[r] = &child{cmd, bufio.NewScanner(out)}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_, _ = io.Copy(io.Discard, out)
			_ = cmd.Wait()
		})
	}
	for _, c := range children {
		require.Equal(t, "ready", c.line("ready"))
	}
	return children
}

// line returns the child's next line that begins with prefix, or "".
func (c *child) line(prefix string) string {
	for c.lines.Scan() {
		if strings.HasPrefix(c.lines.Text(), prefix) {
			return c.lines.Text()
		}
	}
	return ""
}

// requireNamed demands that every other rank names the victim within limit of now.
func requireNamed(t *testing.T, children []*child, victim int, limit time.Duration) {
	start := time.Now()
	want := fmt.Sprintf("culprit %d ", victim)
	for r, c := range children {
		if r != victim {
			require.Contains(t, c.line("culprit"), want, "rank %d", r)
			require.Less(t, time.Since(start), limit, "rank %d", r)
		}
	}
}

// Killed demands that a process that is killed is named by all others, whether they close their
// transport or exit without that.
func Killed(t *testing.T) {
	for _, end := range []string{"exit", "close"} {
		for victim := range childSize {
			t.Run(fmt.Sprintf("victim=%d,others=%s", victim, end), func(t *testing.T) {
				children := startChildren(t, end, longSilence)
				require.NoError(t, children[victim].cmd.Process.Kill())
				requireNamed(t, children, victim, namedSooner)
			})
		}
	}
}

// Stopped demands that a process that is stopped is named by all others, and learns of it once it
// goes on.
func Stopped(t *testing.T) {
	const victim = 2
	children := startChildren(t, "close", shortSilence)
	require.NoError(t, children[victim].cmd.Process.Signal(syscall.SIGSTOP))
	requireNamed(t, children, victim, shortSilence+namedSooner)
	require.NoError(t, children[victim].cmd.Process.Signal(syscall.SIGCONT))
	require.Contains(t, children[victim].line("culprit"), "culprit")
}
