package hybrid

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/internal/meshjoin"
)

// Transport is one rank's end. It implements transport.Transport, Exchanger, Describer, Counter,
// Watcher, Allocator and Locator. All methods may be called from any number of goroutines at once.
type Transport struct {
	mesh   *mesh.Mesh
	ways   []Way
	nodes  []int
	shared sharer
}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Exchanger = (*Transport)(nil)
	_ transport.Describer = (*Transport)(nil)
	_ transport.Counter   = (*Transport)(nil)
	_ transport.Watcher   = (*Transport)(nil)
	_ transport.Allocator = (*Transport)(nil)
	_ transport.Locator   = (*Transport)(nil)
)

// Way is how a peer is reached.
type Way string

// The ways there are. A rank reaches itself in process.
const (
	InProcess    Way = "inproc"
	SharedMemory Way = "shm"
	Network      Way = "tcp"
)

// Join meets the other ranks at cfg.Addr, opens the fastest way to every one of them and returns
// this rank's end. It ends when ctx does or cfg.JoinTimeout passes, here or on another rank. Its
// errors are those of [tcp.Join].
func Join(ctx context.Context, cfg Config) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	shared, err := openShared(&cfg)
	if err != nil {
		return nil, &transport.Error{Rank: cfg.Rank, Op: "join", Err: err}
	}
	n := newFastPath(&cfg, shared)
	m, err := meshjoin.Join(ctx, meshjoin.Config(cfg.Config), n)
	if err != nil {
		n.forget()
		shared.close()
		return nil, err
	}
	return &Transport{mesh: m, ways: n.ways, nodes: n.nodes, shared: shared}, nil
}

// Rank is this end's number.
func (t *Transport) Rank() transport.Rank { return t.mesh.Rank() }

// Size is the number of ranks.
func (t *Transport) Size() int { return t.mesh.Size() }

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

// Way is how messages reach peer r.
func (t *Transport) Way(r transport.Rank) Way { return t.ways[r] }

// Nodes is the number of each rank's node, from 0 on without gaps, the same on every rank: ranks of
// one process, or that share memory, are on one, even where two of them had to take TCP because
// sharing was refused. With Config.NoSharedMemory a rank's processes are nodes of their own. It is
// nil for a job of one rank. The caller must not change it.
func (t *Transport) Nodes() []int { return t.nodes }

// Capabilities describes the transport: it is encrypted if that which leaves the machine is. Its
// name is that of the way to the peers, or "hybrid" where there are several.
func (t *Transport) Capabilities() transport.Capabilities {
	c := t.mesh.Capabilities()
	used := make(map[Way]bool)
	for r, w := range t.ways {
		if transport.Rank(r) != t.Rank() {
			used[w] = true
			c.Name = string(w)
		}
	}
	if len(used) != 1 {
		c.Name = "hybrid"
	}
	c.InPlace = used[SharedMemory]
	return c
}

// Alloc returns n bytes of whatever content that peers of this host can read in place, or nil where
// there are none or no room for them in one piece.
func (t *Transport) Alloc(n int) []byte { return t.shared.alloc(n) }

// Free takes back what Alloc has returned, and reports whether b was that.
func (t *Transport) Free(b []byte) bool { return t.shared.free(b) }

// Close implements [transport.Transport]. Memory from Alloc that has not been freed stays readable
// until the process ends.
func (t *Transport) Close() error {
	err := t.mesh.Close()
	t.shared.close()
	return err
}
