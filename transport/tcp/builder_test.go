package tcp

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// requireHears demands that b gets what a sends.
func requireHears(t *testing.T, a, b *Transport) {
	t.Helper()
	sent, got := make(chan error, 1), make([]byte, 300_000)
	go func() { sent <- a.Send(t.Context(), b.Rank(), 5, got) }()
	n, err := b.Recv(t.Context(), a.Rank(), 5, make([]byte, len(got)))
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.Equal(t, len(got), n)
}

func TestJoinReportsDisagreementToAll(t *testing.T) {
	addr := loopback.Addr()
	errs := make([]error, 3)
	var wg sync.WaitGroup
	for r := range errs {
		wg.Go(func() {
			cfg := Config{Identity: rendezvous.Identity{Rank: transport.Rank(r), Size: 3, Addr: addr, Settings: map[string]string{"experts": "8"}}}
			if r == 2 {
				cfg.Settings = map[string]string{"experts": "16"}
			}
			_, errs[r] = Join(context.Background(), cfg)
		})
	}
	wg.Wait()
	for r := range errs {
		require.ErrorIs(t, errs[r], transport.ErrMismatch, "rank %d", r)
		require.ErrorContains(t, errs[r], `experts: rank 0 has "8", rank 2 has "16"`)
	}
}

func TestJobOfOne(t *testing.T) {
	tr, err := Join(t.Context(), Config{})
	require.NoError(t, err)
	require.NoError(t, tr.Send(t.Context(), 0, 1, []byte("to myself")))
	b := make([]byte, 16)
	n, err := tr.Recv(t.Context(), 0, 1, b)
	require.NoError(t, err)
	require.Equal(t, "to myself", string(b[:n]))
	require.Zero(t, tr.WireBytes())
	require.Equal(t, "tcp", tr.Capabilities().Name)
	require.NoError(t, tr.Close())
	require.NoError(t, tr.Close())
}

func TestWithoutPayloadSums(t *testing.T) {
	ends := openAll(t, 3, func(c *Config) { c.NoPayloadSums = true })
	requireHears(t, ends[0], ends[2])
	requireHears(t, ends[2], ends[1])
}

func TestNothingListensOnceJoined(t *testing.T) {
	before := listeners(t)
	ends := openAll(t, 3, nil)
	require.Subset(t, before, listeners(t))
	closeAll(ends)
}

// listeners are the listening sockets of this process, as the kernel writes them.
func listeners(t *testing.T) []string {
	mine := make(map[string]bool)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	for _, fd := range fds {
		if link, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(link, "socket:[") {
			mine[strings.Trim(link, "socket:[]")] = true
		}
	}
	found := []string{}
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && mine[f[9]] {
				found = append(found, f[1])
			}
		}
	}
	return found
}

func TestValidateReportsEveryFaultAndChangesNothing(t *testing.T) {
	c := Config{Identity: rendezvous.Identity{Rank: 9, Size: 3, Addr: "x"}, Limits: transport.Limits{CloseTimeout: -1, MaxUnexpectedBytes: -1, Heartbeat: time.Hour}}
	before := c
	err := c.Validate()
	for _, part := range []string{"Rank 9", "Addr", "CloseTimeout", "MaxUnexpectedBytes", "DeadAfter"} {
		require.ErrorContains(t, err, part)
	}
	require.Equal(t, before, c)
	require.NoError(t, Config{}.Validate())
	require.NoError(t, Config{Limits: transport.Limits{OpTimeout: transport.NoTimeout}}.Validate())
	require.NoError(t, Config{Limits: transport.Limits{DeadAfter: time.Second / 2}}.Validate(), "signs of life come as often as that needs")
}

func TestAddressesBeyondLoopbackNeedInsecure(t *testing.T) {
	_, err := Join(t.Context(), Config{Identity: rendezvous.Identity{Size: 2, Addr: "127.0.0.1:1"}, Host: "0.0.0.0"})
	require.ErrorContains(t, err, "set Insecure")
}
