//go:build linux && !purego

package hybrid

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/meshjoin"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// strange has a process be of another user who believes to be the same one, as in a container that
// shares this machine's network but has users of its own.
func strange(t *testing.T) func(cmd *exec.Cmd) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a process other users")
	}
	dir, err := os.MkdirTemp("/tmp", "switchyard") // other users cannot enter the test's own
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	self, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/test", self, 0o755))
	mapped := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100_000, Size: 1000}}
	return func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = dir+"/test", "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: mapped, GidMappings: mapped,
			Credential: &syscall.Credential{}}
	}
}

// TestContainersWithOtherUsersSpeakTCP: one of three ranks is of another user. It does not matter
// whether it dials or is dialled.
func TestContainersWithOtherUsersSpeakTCP(t *testing.T) {
	contain := strange(t)
	for other := range 3 {
		addr := loopback.Addr()
		var all []*joiner
		for rank := range 3 {
			var change func(*exec.Cmd)
			if rank == other {
				change = contain
			}
			all = append(all, startJoiner(t, addr, "hybrid", rank, 3, "", change))
		}
		for rank, j := range all {
			want := []Way{SharedMemory, SharedMemory, SharedMemory}
			want[other] = Network
			if rank == other {
				want = []Way{Network, Network, Network}
			}
			want[rank] = InProcess
			require.Equal(t, fmt.Sprint("ways ", want), j.line("ways"), "rank %d, rank %d is another user's", rank, other)
			require.Contains(t, j.line("culprit"), "culprit -1 <nil>")
		}
	}
}

// TestSharedMemoryThatIsRefusedIsTheReason: without another way, every rank says why at once.
func TestSharedMemoryThatIsRefusedIsTheReason(t *testing.T) {
	contain := strange(t)
	addr := loopback.Addr()
	begin := time.Now()
	all := []*joiner{
		startJoiner(t, addr, "shm", 0, 3, "", nil), startJoiner(t, addr, "shm", 1, 3, "", contain), startJoiner(t, addr, "shm", 2, 3, "", nil),
	}
	for rank, j := range all {
		require.Contains(t, j.line("culprit"), "process of another user", "rank %d", rank)
	}
	require.Less(t, time.Since(begin), time.Minute)
}

// syncBuffer is a log.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

type memory = host

// refusing is shared memory that one pair of ranks cannot have, as the rank that dials finds out.
type refusing struct {
	*memory
	lower, higher transport.Rank
}

func (f *refusing) open(ctx context.Context, m meshjoin.Meeting, peers map[transport.Rank]string, streams chan<- meshjoin.Opened) {
	if f.rank != f.higher {
		f.memory.open(ctx, m, peers, streams)
		return
	}
	peers = maps.Clone(peers)
	delete(peers, f.lower)
	f.memory.open(ctx, m, peers, streams)
	f.wg.Go(func() {
		select {
		case streams <- meshjoin.Opened{Peer: f.lower, Err: fmt.Errorf("mmap: %w", syscall.ENOMEM)}:
		case <-ctx.Done():
		}
	})
}

// TestPairThatCannotShareMemorySpeaksTCP: every other pair shares memory, and both ends say why
// they do not.
func TestPairThatCannotShareMemorySpeaksTCP(t *testing.T) {
	for _, pair := range [][2]transport.Rank{{0, 1}, {0, 2}, {1, 2}} {
		addr := loopback.Addr()
		var logs [3]syncBuffer
		var ways [3][]Way
		var ends [3]transport.Transport
		var wg sync.WaitGroup
		for r := range ends {
			wg.Go(func() {
				cfg := Config{Config: tcp.Config{
					Identity: rendezvous.Identity{Rank: transport.Rank(r), Size: 3, Addr: addr, Job: t.Name()},
					Log:      slog.New(slog.NewTextHandler(&logs[r], nil)),
				}, process: fmt.Sprint("process", r)}.WithDefaults()
				shared, err := openShared(&cfg)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(shared.close)
				n := newFastPath(&cfg, &refusing{shared.(*host), pair[0], pair[1]})
				end, err := meshjoin.Join(t.Context(), meshjoin.Config(cfg.Config), n)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { _ = end.Close() })
				ends[r], ways[r] = end, n.ways
			})
		}
		wg.Wait()
		require.False(t, t.Failed())
		for r := range ends {
			for p := range ends {
				want := SharedMemory
				if [2]transport.Rank{transport.Rank(min(r, p)), transport.Rank(max(r, p))} == pair {
					want = Network
					require.Contains(t, logs[r].String(), "TCP is used instead")
				}
				if r != p {
					require.Equal(t, want, ways[r][p], "from %d to %d, without %v", r, p, pair)
				}
				requireSends(t, ends[r], ends[p])
			}
		}
		require.Contains(t, logs[pair[1]].String(), "cannot allocate memory")
	}
}

func requireSends(t *testing.T, from, to transport.Transport) {
	sent := make(chan error, 1)
	go func() { sent <- from.Send(t.Context(), to.Rank(), 1, []byte("hello")) }()
	b := make([]byte, 5)
	_, err := to.Recv(t.Context(), from.Rank(), 1, b)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.Equal(t, "hello", string(b))
}

// TestDifferentRingsAreADisagreement: it is no reason to take another way without a word.
func TestDifferentRingsAreADisagreement(t *testing.T) {
	addr := loopback.Addr()
	errs := make([]error, 3)
	var wg sync.WaitGroup
	for r := range errs {
		wg.Go(func() {
			cfg := Config{Config: tcp.Config{Identity: rendezvous.Identity{Rank: transport.Rank(r), Size: 3, Addr: addr, Job: t.Name()}}, process: fmt.Sprint("process", r)}
			if r == 1 {
				cfg.RingBytes = 8 << 10
			}
			_, errs[r] = Join(t.Context(), cfg)
		})
	}
	wg.Wait()
	for r, err := range errs {
		require.ErrorIs(t, err, transport.ErrMismatch, "rank %d", r)
		require.ErrorContains(t, err, "ring size")
	}
}
