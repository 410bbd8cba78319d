package grpc

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// Transport is one rank's end of the mesh. It implements transport.Transport, Exchanger, Describer,
// Counter and Watcher. All methods may be called from any number of goroutines at once.
type Transport struct {
	mesh *mesh.Mesh
	cfg  Config
	wg   sync.WaitGroup // the goroutines of streams, and the server's

	mu     sync.Mutex
	links  []*link
	server *grpc.Server // of Join; nil on somebody else's

	releaseOnce sync.Once
}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Exchanger = (*Transport)(nil)
	_ transport.Describer = (*Transport)(nil)
	_ transport.Counter   = (*Transport)(nil)
	_ transport.Watcher   = (*Transport)(nil)
)

// newTransport returns a transport without streams; cfg has its defaults.
func newTransport(cfg Config) *Transport {
	return &Transport{cfg: cfg, mesh: mesh.New(mesh.Config{
		Capabilities: transport.Capabilities{
			Name: "grpc", SurvivesPeerLoss: true, Network: true, Encrypted: encrypts(cfg.Credentials),
		},
		Rank: cfg.Rank, Size: cfg.Size, Epoch: cfg.Epoch,
		Limits: cfg.Limits, Log: cfg.Log,
	})}
}

func encrypts(c credentials.TransportCredentials) bool {
	return c != nil && c.Info().SecurityProtocol == "tls"
}

// attach gives a peer its stream.
func (t *Transport) attach(o opened) {
	if o.kind == controlStream {
		t.mesh.OpenControl(o.peer, newControl(o.stream, &t.wg))
	} else {
		t.mesh.OpenData(o.peer, newChunkStream(o.stream, &t.wg), !t.cfg.NoPayloadSums)
	}
}

// Rank is this end's number.
func (t *Transport) Rank() transport.Rank { return t.mesh.Rank() }

// Size is the number of ranks.
func (t *Transport) Size() int { return t.mesh.Size() }

// Capabilities implements [transport.Describer].
func (t *Transport) Capabilities() transport.Capabilities { return t.mesh.Capabilities() }

// WireBytes implements [transport.Counter]: it is the number of payload bytes sent to other ranks.
func (t *Transport) WireBytes() uint64 { return t.mesh.WireBytes() }

// Send implements [transport.Transport]: it sends the concatenation of bufs to rank to under tag.
func (t *Transport) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	return t.mesh.Send(ctx, to, tag, bufs...)
}

// Recv implements [transport.Transport]: it receives the next message of rank from under tag into
// bufs, and returns its length in bytes.
func (t *Transport) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (int, error) {
	return t.mesh.Recv(ctx, from, tag, bufs...)
}

// Exchange implements [transport.Exchanger] on the caller's goroutine alone.
func (t *Transport) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	return t.mesh.Exchange(ctx, sends, recvs)
}

// Watch implements [transport.Watcher].
func (t *Transport) Watch(p transport.Program) { t.mesh.Watch(p) }

// Settle implements [transport.Watcher].
func (t *Transport) Settle() error { return t.mesh.Settle() }

// Close implements transport.Transport. It waits up to [transport.Limits.CloseTimeout] for
// peers to take what was sent. A server that the program runs itself goes on.
func (t *Transport) Close() error {
	err := t.mesh.Close()
	t.release()
	return err
}

// release frees what carried the streams, which have been closed.
func (t *Transport) release() {
	t.releaseOnce.Do(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		var closing sync.WaitGroup
		for _, l := range t.links {
			closing.Go(l.close)
		}
		if t.server != nil {
			t.server.Stop()
		}
		closing.Wait()
		t.wg.Wait()
	})
}
