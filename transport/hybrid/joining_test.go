//go:build linux && !purego

package hybrid

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/processtest"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/shm"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// The variables of a process that TestJoiningChild is.
const (
	joinRank = "SWITCHYARD_TEST_JOIN_RANK"
	joinSize = "SWITCHYARD_TEST_JOIN_SIZE"
	joinOver = "SWITCHYARD_TEST_JOIN_TRANSPORT"
	// joinDies is after which message of the rendezvous it dies: "3*2" is the second of kind 3.
	joinDies = "SWITCHYARD_TEST_JOIN_DIES"

	joinLocal   = "SWITCHYARD_TEST_JOIN_LOCAL"   // ranks of this machine
	joinTimeout = "SWITCHYARD_TEST_JOIN_TIMEOUT" // where it is not long
	joinOpen    = "SWITCHYARD_TEST_JOIN_OPEN=1"  // has addresses beyond loopback be used
)

// TestJoiningChild is not a test of its own: it is what the other tests of this file start as
// processes. It joins, and reports which rank the error names.
func TestJoiningChild(t *testing.T) {
	rank, err := strconv.Atoi(os.Getenv(joinRank))
	if err != nil {
		t.Skip("only as a child process")
	}
	size, err := strconv.Atoi(os.Getenv(joinSize))
	require.NoError(t, err)
	c := tcp.Config{
		Identity: rendezvous.Identity{Rank: transport.Rank(rank), Size: size, Addr: os.Getenv(processtest.Addr), Job: "joining"},
		Limits:   transport.Limits{JoinTimeout: 4 * time.Minute},
		Net:      mortalNet(os.Getenv(joinDies)), Log: slog.New(slog.NewTextHandler(logLines{}, nil)),
	}
	_, c.Insecure = os.LookupEnv("SWITCHYARD_TEST_JOIN_OPEN")
	c.LocalSize, _ = strconv.Atoi(os.Getenv(joinLocal))
	if d, err := time.ParseDuration(os.Getenv(joinTimeout)); err == nil {
		c.JoinTimeout = d
	}
	tr, err := joinOverTransport(os.Getenv(joinOver), c)
	fmt.Printf("culprit %d %v\n", transport.CulpritOf(err), err)
	if err == nil {
		require.NoError(t, tr.Close())
	}
}

// logLines writes a log to the standard output, each line marked as such.
type logLines struct{}

func (logLines) Write(b []byte) (int, error) { return fmt.Print("log ", string(b)) }

func joinOverTransport(name string, c tcp.Config) (tr transport.Transport, err error) {
	ctx := context.Background()
	switch name {
	case "tcp":
		tr, err = tcp.Join(ctx, c)
	case "shm":
		tr, err = shm.Join(ctx, shm.Config{Identity: rendezvous.Identity{Rank: c.Rank, Size: c.Size, Addr: c.Addr, Job: c.Job}, Limits: transport.Limits{JoinTimeout: c.JoinTimeout}, Net: c.Net})
	default:
		var h *Transport
		if h, err = Join(ctx, Config{Config: c}); err == nil {
			fmt.Println("ways", h.ways)
		}
		tr = h
	}
	return tr, err
}

// mortalNet ends this process after a number of messages of one kind, at either end of the
// rendezvous.
func mortalNet(dies string) rendezvous.Net {
	kind, times, mortal := strings.Cut(dies, "*")
	if !mortal {
		return rendezvous.Net{}
	}
	k, _ := strconv.Atoi(kind)
	n, _ := strconv.Atoi(times)
	left := new(atomic.Int64)
	left.Store(int64(n))
	see := func(b []byte) {
		if len(b) >= 44 && string(b[:4]) == "SWYR" && int(b[7]) == k && left.Add(-1) == 0 {
			os.Exit(7)
		}
	}
	system := rendezvous.Net{}.WithDefaults()
	return rendezvous.Net{
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := system.Dial(ctx, addr)
			if addr != os.Getenv(processtest.Addr) || err != nil {
				return c, err
			}
			return &mortalConn{c, see}, nil
		},
		Listen: func(ctx context.Context, addr string) (net.Listener, error) {
			l, err := system.Listen(ctx, addr)
			if addr != os.Getenv(processtest.Addr) || err != nil {
				return l, err
			}
			return &mortalListener{l, see}, nil
		},
	}
}

type mortalConn struct {
	net.Conn
	see func([]byte)
}

func (c *mortalConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.see(b[:n])
	return n, err
}

func (c *mortalConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.see(b)
	return n, err
}

type mortalListener struct {
	net.Listener
	see func([]byte)
}

func (l *mortalListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &mortalConn{c, l.see}, nil
}

// joiner is a process that joins.
type joiner struct {
	cmd  *exec.Cmd
	says *bufio.Scanner
}

// startJoiner starts rank as a process; change may alter how.
func startJoiner(t *testing.T, addr, over string, rank, size int, dies string, change func(cmd *exec.Cmd)) *joiner {
	cmd := exec.Command(os.Args[0], "-test.run=^TestJoiningChild$")
	cmd.Env = append(os.Environ(), processtest.Addr+"="+addr, joinRank+"="+strconv.Itoa(rank), joinSize+"="+strconv.Itoa(size),
		joinOver+"="+over, joinDies+"="+dies)
	if change != nil {
		change(cmd)
	}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &joiner{cmd, bufio.NewScanner(out)}
}

// line returns what the process says next that begins with prefix, or everything that it has said
// instead.
func (j *joiner) line(prefix string) string {
	var all []string
	for j.says.Scan() {
		if strings.HasPrefix(j.says.Text(), prefix) {
			return j.says.Text()
		}
		all = append(all, j.says.Text())
	}
	return strings.Join(all, "\n")
}

const (
	afterWelcome = "2*"
	afterTable   = "3*"
)

// TestDeathWhileJoiningIsNamedByAll kills a process while ranks meet, and while they open their
// connections, over each transport: all others name it, long before the timeout.
func TestDeathWhileJoiningIsNamedByAll(t *testing.T) {
	for _, c := range []struct {
		over   string
		victim int
		after  string
		start  int // processes, of four ranks
	}{
		{"tcp", 0, afterTable + "3", 4}, {"tcp", 1, afterTable + "1", 4}, {"tcp", 3, afterTable + "1", 4},
		{"shm", 0, afterTable + "3", 4}, {"shm", 1, afterTable + "1", 4}, {"shm", 3, afterTable + "1", 4},
		{"hybrid", 0, afterTable + "3", 4}, {"hybrid", 1, afterTable + "1", 4}, {"hybrid", 3, afterTable + "1", 4},
		{"hybrid", 0, afterWelcome + "2", 3}, {"hybrid", 2, afterWelcome + "1", 3},
	} {
		t.Run(fmt.Sprintf("%s, rank %d, message %s", c.over, c.victim, c.after), func(t *testing.T) {
			addr := loopback.Addr()
			begin := time.Now()
			var all []*joiner
			for rank := range c.start {
				dies := ""
				if rank == c.victim {
					dies = c.after
				}
				all = append(all, startJoiner(t, addr, c.over, rank, 4, dies, nil))
			}
			for rank, j := range all {
				if rank != c.victim {
					require.Contains(t, j.line("culprit"), fmt.Sprintf("culprit %d ", c.victim), "rank %d", rank)
				}
			}
			require.Less(t, time.Since(begin), time.Minute)
		})
	}
}
