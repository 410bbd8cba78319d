package tcp

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// halfMesh builds the mesh of two ranks without a rendezvous, so that a test can reach its listener between. claimed is
// the rank that it says to be; what it can prove is that of c.
func halfMesh(t *testing.T, ctx context.Context, c Config, claimed int, listen net.Listener, addrs []string) (*Transport, error) {
	guard, err := secure.NewGuard(c.Security, "", c.Rank, nil)
	require.NoError(t, err)
	c.Rank, c.Size = transport.Rank(claimed), 2
	tr := newTransport(c.WithDefaults())
	b := tr.newBuilder(ctx, guard, listen)
	err = b.build(ctx, addrs, hello{size: 2, from: transport.Rank(claimed)})
	b.end()
	t.Cleanup(func() { _ = tr.Close() })
	return tr, err
}

func listenAnywhere(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

func TestStrangersAtTheMeshAreDropped(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	random := make([]byte, 1000)
	_, _ = rand.Read(random)
	wrong := make([]byte, helloBytes)
	(&hello{lane: laneData, size: 3, from: 1}).put(wrong)
	var open []net.Conn
	for range secure.MaxPending / 2 {
		for _, first := range [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n"), {0x16, 3, 1}, random, wrong, nil} {
			c, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer c.Close()
			_, _ = c.Write(first)
			open = append(open, c)
		}
	}
	var wg sync.WaitGroup
	var ends [2]*Transport
	wg.Go(func() { ends[0], err = halfMesh(t, t.Context(), Config{}, 0, l, nil) })
	other, err1 := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err1)
	ends[1], err1 = halfMesh(t, t.Context(), Config{}, 1, other, []string{addr})
	wg.Wait()
	require.NoError(t, err)
	require.NoError(t, err1)
	requireHears(t, ends[0], ends[1])
	for _, c := range open {
		_ = c.SetReadDeadline(time.Now().Add(3 * helloPatience))
		_, err := io.Copy(io.Discard, c)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	_, err = net.Dial("tcp", addr)
	require.Error(t, err, "nobody listens once the mesh is complete")
}

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

func TestHelloNamesWhatDiffers(t *testing.T) {
	mine := hello{size: 4, from: 1, epoch: 2}
	good := hello{lane: laneData, size: 4, from: 3, to: 1, epoch: 2}
	require.NoError(t, mine.check(&good))
	for want, change := range map[string]func(h *hello){
		"world size 5, here 4": func(h *hello) { h.size = 5 },
		"epoch 3, here 2":      func(h *hello) { h.epoch = 3 },
		"session":              func(h *hello) { h.session[0] = 1 },
		"configuration digest": func(h *hello) { h.terms[0] = 1 },
		"receiver 2, here 1":   func(h *hello) { h.to = 2 },
		"rank 4, here 1":       func(h *hello) { h.from = 4 },
		"rank 1, here 1":       func(h *hello) { h.from = 1 },
		"lane 7, here 1 or 2":  func(h *hello) { h.lane = 7 },
	} {
		bad := good
		change(&bad)
		err := mine.check(&bad)
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.ErrorContains(t, err, want)
	}
}

func TestMissingPeerIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = halfMesh(t, ctx, Config{}, 0, l, nil)
	require.ErrorIs(t, err, transport.ErrTimeout)
	require.ErrorContains(t, err, "no connection with rank 1")
}

func TestJoinReportsDisagreementToAll(t *testing.T) {
	addr := freeAddr(t)
	errs := make([]error, 3)
	var wg sync.WaitGroup
	for r := range errs {
		wg.Go(func() {
			cfg := Config{Rank: transport.Rank(r), Size: 3, Addr: addr, Settings: map[string]string{"experts": "8"}}
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
	c := Config{Rank: 9, Size: 3, Addr: "x", CloseTimeout: -1, MaxUnexpectedBytes: -1, Heartbeat: time.Hour}
	before := c
	err := c.Validate()
	for _, part := range []string{"Rank 9", "Addr", "CloseTimeout", "MaxUnexpectedBytes", "DeadAfter"} {
		require.ErrorContains(t, err, part)
	}
	require.Equal(t, before, c)
	require.NoError(t, Config{}.Validate())
	require.NoError(t, Config{OpTimeout: transport.NoTimeout}.Validate())
	require.NoError(t, Config{DeadAfter: time.Second / 2}.Validate(), "signs of life come as often as that needs")
}

func TestAddressesBeyondLoopbackNeedInsecure(t *testing.T) {
	_, err := Join(t.Context(), Config{Size: 2, Addr: "127.0.0.1:1", Host: "0.0.0.0"})
	require.ErrorContains(t, err, "set Insecure")
}
