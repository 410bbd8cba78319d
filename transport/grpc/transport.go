package grpc

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// Transport is one rank's end of the mesh. It implements transport.Transport, Exchanger, Describer and Counter. All
// methods may be called from any number of goroutines at once.
type Transport struct {
	*mesh.Mesh
	cfg Config
	wg  sync.WaitGroup // the goroutines of lanes, and the server's

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
)

// newTransport returns a transport without lanes; cfg has its defaults.
func newTransport(cfg Config) *Transport {
	return &Transport{cfg: cfg, Mesh: mesh.New(mesh.Config{
		Capabilities: transport.Capabilities{
			Name: "grpc", SurvivesPeerLoss: true, Network: true, Encrypted: encrypts(cfg.Credentials),
		},
		Rank: cfg.Rank, Size: cfg.Size, Epoch: cfg.Epoch,
		OpTimeout: cfg.OpTimeout, Heartbeat: cfg.Heartbeat, DeadAfter: cfg.DeadAfter, CloseTimeout: cfg.CloseTimeout,
		MaxUnexpectedBytes: cfg.MaxUnexpectedBytes, Log: cfg.Log,
	})}
}

func encrypts(c credentials.TransportCredentials) bool {
	return c != nil && c.Info().SecurityProtocol == "tls"
}

// attach gives a peer its lane.
func (t *Transport) attach(o opened) {
	if o.lane == Lane_LANE_CONTROL {
		t.OpenControl(o.peer, newControl(o.stream, &t.wg))
	} else {
		t.OpenData(o.peer, newLane(o.stream, &t.wg), !t.cfg.NoPayloadSums)
	}
}

// Close implements transport.Transport. It waits up to [Config.CloseTimeout] for peers to take what was sent. A server
// that the program runs itself goes on.
func (t *Transport) Close() error {
	err := t.Mesh.Close()
	t.release()
	return err
}

// release frees what carried the lanes, which have been closed.
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
