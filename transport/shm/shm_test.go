//go:build linux && !purego

package shm

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// fill makes b differ from byte to byte and from seed to seed.
func fill(b []byte, seed int) []byte {
	for i := range b {
		b[i] = byte(i*7 + i>>8 + seed)
	}
	return b
}

// TestRowsAreGatheredFromTheSendersMemory sends every third row of a matrix in place, and receives
// them scattered.
func TestRowsAreGatheredFromTheSendersMemory(t *testing.T) {
	const row, rows = 1000, 900
	ends := openAll(t, 2, nil)
	x := fill(ends[0].Alloc(row*rows), 3)
	var out, in [][]byte
	room := make([]byte, row*rows)
	for r := 0; r < rows; r += 3 {
		out = append(out, x[r*row:][:row])
		in = append(in, room[r*row:][:row/2], room[r*row+row/2:][:row/2])
	}
	sent := make(chan error, 1)
	go func() { sent <- ends[0].Send(t.Context(), 1, 5, out...) }()
	n, err := ends[1].Recv(t.Context(), 0, 5, in...)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.Equal(t, row*rows/3, n)
	for r := 0; r < rows; r += 3 {
		require.Equal(t, x[r*row:][:row], room[r*row:][:row])
	}
	require.True(t, ends[0].Free(x))
}

func TestMessagesInPlaceAndNotKeepTheirOrder(t *testing.T) {
	ends := openAll(t, 2, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 200 {
			n := 1 + (i*7919)%100_000
			b := make([]byte, n)
			if i%2 == 0 {
				b = ends[0].Alloc(n)
			}
			require.NoError(t, ends[0].Send(t.Context(), 1, 1, fill(b, i)))
			ends[0].Free(b)
		}
	})
	room := make([]byte, 100_000)
	for i := range 200 {
		n, err := ends[1].Recv(t.Context(), 0, 1, room)
		require.NoError(t, err)
		require.Equal(t, fill(make([]byte, 1+(i*7919)%100_000), i), room[:n])
	}
	wg.Wait()
}

func TestExchangeDoesNotAllocate(t *testing.T) {
	const rounds = 500
	for _, size := range []int{64, 64 << 10} {
		ends := openAll(t, 2, nil)
		step := func(e *Transport) func() {
			peer := 1 - e.Rank()
			sends := []transport.Message{{Peer: peer, Tag: 1, Bufs: [][]byte{e.Alloc(size)}}}
			recvs := []transport.Message{{Peer: peer, Tag: 1, Bufs: [][]byte{e.Alloc(size)}}}
			return func() { require.NoError(t, e.Exchange(context.Background(), sends, recvs)) }
		}
		var wg sync.WaitGroup
		other := step(ends[1])
		wg.Go(func() {
			for range rounds + 1 {
				other()
			}
		})
		allocs := testing.AllocsPerRun(rounds, step(ends[0]))
		wg.Wait()
		require.LessOrEqual(t, allocs, 1.0, "%d bytes, both ranks together", size)
	}
}

// TestNothingIsLeftBehind looks for files and listening sockets of a job that stands, and of one
// that has closed.
func TestNothingIsLeftBehind(t *testing.T) {
	ends := openAll(t, 3, nil)
	maps, err := os.ReadFile("/proc/self/maps") // of this process: others may use /dev/shm meanwhile
	require.NoError(t, err)
	require.Contains(t, string(maps), "memfd:", "the memory of the ranks has no file")
	require.NotContains(t, string(maps), "/dev/shm/")
	sockets, err := os.ReadFile("/proc/self/net/unix")
	require.NoError(t, err)
	for line := range strings.Lines(string(sockets)) {
		f := strings.Fields(line)
		require.False(t, len(f) == 8 && f[3] == "00010000" && strings.HasPrefix(f[7], "@switchyard-") && mine(t, f[6]),
			"a listener is left: %s", line)
	}
	closeAll(ends)
}

// mine reports whether this process holds the socket of that inode.
func mine(t *testing.T, inode string) bool {
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range fds {
		if link, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && link == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}

func TestValidateReportsEveryFaultAndChangesNothing(t *testing.T) {
	c := Config{Identity: rendezvous.Identity{Rank: 9, Size: 3, Addr: "x"}, Limits: transport.Limits{JoinTimeout: -1, MaxUnexpectedBytes: -1}, RingBytes: 5000, ArenaBytes: -1}
	before := c
	err := c.Validate()
	for _, part := range []string{"Rank 9", "Addr", "JoinTimeout", "MaxUnexpectedBytes", "RingBytes 5000", "ArenaBytes"} {
		require.ErrorContains(t, err, part)
	}
	require.Equal(t, before, c)
	require.NoError(t, Config{}.Validate())
}
