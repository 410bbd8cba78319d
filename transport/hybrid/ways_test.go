package hybrid

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/tcp"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

// mixed puts ranks 0 and 1 in one process, 2 and 3 in their own, and every fourth on a host without
// shared memory.
func mixed(c *Config) {
	c.process = fmt.Sprint("process", c.Rank/2*2)
	if c.Rank%4 >= 2 {
		c.process = fmt.Sprint("process", c.Rank)
	}
	c.NoSharedMemory = c.Rank%4 == 3
}

func TestConformanceOfAMixture(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, n int) []transport.Transport {
		ends := make([]transport.Transport, n)
		for r, e := range openAll(t, n, mixed) {
			ends[r] = e
		}
		return ends
	})
}

func TestEveryPeerIsReachedByTheFastestWay(t *testing.T) {
	shared := SharedMemory
	if runtime.GOOS != "linux" || hostName() == "" {
		shared = Network
	}
	ends := openAll(t, 4, mixed)
	want := [4][4]Way{
		{InProcess, InProcess, shared, Network},
		{InProcess, InProcess, shared, Network},
		{shared, shared, InProcess, Network},
		{Network, Network, Network, InProcess},
	}
	for r, e := range ends {
		for p := range ends {
			require.Equal(t, want[r][p], e.Way(transport.Rank(p)), "%d to %d", r, p)
		}
		name := "hybrid"
		if r == 3 || r == 2 && shared == Network { // everybody else is on the network
			name = "tcp"
		}
		require.Equal(t, name, e.Capabilities().Name)
		require.Equal(t, r < 3 && shared == SharedMemory, e.Capabilities().InPlace)
		if shared == SharedMemory {
			require.Equal(t, []int{0, 0, 0, 1}, e.Nodes())
		}
	}
}

// TestNodesAreWhatIsShared: a process that shares no memory is a node, and what cannot be read one
// of its own.
func TestNodesAreWhatIsShared(t *testing.T) {
	require.Equal(t, []int{0, 1, 0, 2, 1, 3, 0}, nodesOf([]string{"a,x,", "b,,", "c,x,", "nonsense", "b,,", "d,y,", "a,x,"}))
}

func TestFailedJoinLeavesNoMeetings(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Join(ctx, Config{Config: tcp.Config{Identity: rendezvous.Identity{Size: 2, Addr: loopback.Addr()}}})
	require.Error(t, err)
	meetings.Lock()
	defer meetings.Unlock()
	require.Empty(t, meetings.ends)
}

// FuzzNotice reads what a peer may publish.
func FuzzNotice(f *testing.F) {
	f.Add("process,host,@addr")
	f.Add(",,")
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseNotice(s)
		require.Equal(t, ok, n.process != "")
	})
}

func TestValidateReportsEveryFault(t *testing.T) {
	err := Config{Config: tcp.Config{Identity: rendezvous.Identity{Rank: 9, Size: 3}}, RingBytes: 5000, ArenaBytes: -1}.Validate()
	for _, part := range []string{"Rank 9", "RingBytes 5000", "ArenaBytes -1"} {
		require.ErrorContains(t, err, part)
	}
	require.NoError(t, Config{}.Validate())
}
