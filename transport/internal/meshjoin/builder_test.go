package meshjoin

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/identity"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// withDefaults completes c as package tcp does.
func withDefaults(c Config) Config {
	c.OpTimeout = time.Minute
	c.Limits = c.Limits.WithDefaults(transport.DefaultLimits())
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// halfMesh builds the mesh of two ranks without a rendezvous, so that a test can reach its listener
// between. claimed is the rank that it says to be; what it can prove is that of c.
func halfMesh(t *testing.T, ctx context.Context, c Config, claimed int, listen net.Listener, addrs []string) (*mesh.Mesh, error) {
	guard, err := secure.NewGuard(c.Security, "", c.Rank, nil)
	require.NoError(t, err)
	c.Rank, c.Size = transport.Rank(claimed), 2
	j := newJoiner(withDefaults(c), nil)
	b := j.newBuilder(ctx, guard, listen)
	err = b.build(ctx, addrs, hello{Block: identity.Block{Size: 2, From: transport.Rank(claimed)}})
	b.end()
	t.Cleanup(func() { _ = j.mesh.Close() })
	return j.mesh, err
}

func listenAnywhere(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

func TestOtherProgramsAreDropped(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	random := make([]byte, 1000)
	_, _ = rand.Read(random)
	wrong := make([]byte, helloBytes)
	(&hello{Block: identity.Block{Size: 3, From: 1}, kind: dataStream}).put(wrong)
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
	var ends [2]*mesh.Mesh
	wg.Go(func() { ends[0], err = halfMesh(t, t.Context(), Config{}, 0, l, nil) })
	other, err1 := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err1)
	ends[1], err1 = halfMesh(t, t.Context(), Config{}, 1, other, []string{addr})
	wg.Wait()
	require.NoError(t, err)
	require.NoError(t, err1)
	requireHears(t, ends[0], ends[1])
	for _, c := range open {
		_ = c.SetReadDeadline(time.Now().Add(3 * helloTimeout))
		_, err := io.Copy(io.Discard, c)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	_, err = net.Dial("tcp", addr)
	require.Error(t, err, "nobody listens once the mesh is complete")
}

// requireHears demands that b gets what a sends.
func requireHears(t *testing.T, a, b *mesh.Mesh) {
	t.Helper()
	sent, got := make(chan error, 1), make([]byte, 300_000)
	go func() { sent <- a.Send(t.Context(), b.Rank(), 5, got) }()
	n, err := b.Recv(t.Context(), a.Rank(), 5, make([]byte, len(got)))
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.Equal(t, len(got), n)
}

func TestHelloNamesWhatDiffers(t *testing.T) {
	mine := hello{Block: identity.Block{Size: 4, From: 1, Epoch: 2}}
	theirs := hello{Block: identity.Block{Size: 4, From: 3, To: 1, Epoch: 2}, kind: dataStream}
	require.NoError(t, mine.check(&theirs))
	theirs.kind = 7
	require.ErrorIs(t, mine.check(&theirs), transport.ErrMismatch)
	require.ErrorContains(t, mine.check(&theirs), "stream kind 7, here 1 or 2")
	theirs.kind, theirs.Epoch = controlStream, 3
	require.ErrorContains(t, mine.check(&theirs), "epoch 3, here 2")
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
