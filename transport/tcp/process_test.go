//go:build unix

package tcp

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

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

const (
	childRank = "SWITCHYARD_TEST_RANK"
	childAddr = "SWITCHYARD_TEST_ADDR"
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

// TestChild is not a test of its own: it is what the other tests of this file start as processes.
// It exchanges messages until that fails, and reports which rank the error names.
func TestChild(t *testing.T) {
	rank, err := strconv.Atoi(os.Getenv(childRank))
	if err != nil {
		t.Skip("only as a child process")
	}
	deadAfter, err := time.ParseDuration(os.Getenv(childDead))
	require.NoError(t, err)
	tr, err := Join(context.Background(), Config{
		Identity: rendezvous.Identity{Rank: transport.Rank(rank), Size: childSize, Addr: os.Getenv(childAddr), Job: "child"},
		Limits:   transport.Limits{Heartbeat: 50 * time.Millisecond, DeadAfter: deadAfter},
	})
	require.NoError(t, err)
	var sends, recvs []transport.Message
	for p := range childSize {
		if p != rank {
			sends = append(sends, transport.Message{Peer: transport.Rank(p), Bufs: [][]byte{make([]byte, 200<<10)}})
			recvs = append(recvs, transport.Message{Peer: transport.Rank(p), Bufs: [][]byte{make([]byte, 200<<10)}})
		}
	}
	for round := 0; err == nil; round++ {
		if round == 20 {
			fmt.Println("ready")
		}
		err = tr.Exchange(context.Background(), sends, recvs)
	}
	fmt.Printf("culprit %d %v\n", transport.CulpritOf(err), err)
	if os.Getenv(childEnd) == "exit" {
		os.Exit(0) // as a program that dies of the error and never closes
	}
	require.NoError(t, tr.Close())
}

// child is one rank as a process.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startChildren(t *testing.T, end string, deadAfter time.Duration) []*child {
	addr := freeAddr(t)
	children := make([]*child, childSize)
	for r := range children {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
		cmd.Env = append(os.Environ(), childAddr+"="+addr, childRank+"="+strconv.Itoa(r), childEnd+"="+end, childDead+"="+deadAfter.String())
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

func TestKilledProcessIsNamedByAllOthers(t *testing.T) {
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

func TestStoppedProcessIsNamedByAllOthersAndLearnsItself(t *testing.T) {
	const victim = 2
	children := startChildren(t, "close", shortSilence)
	require.NoError(t, children[victim].cmd.Process.Signal(syscall.SIGSTOP))
	requireNamed(t, children, victim, shortSilence+namedSooner)
	require.NoError(t, children[victim].cmd.Process.Signal(syscall.SIGCONT))
	require.Contains(t, children[victim].line("culprit"), "culprit")
}
