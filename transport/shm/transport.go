package shm

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// Transport is one rank's end. It implements transport.Transport, Exchanger, Describer, Counter,
// Watcher and Allocator. All methods may be called from any number of goroutines at once.
type Transport struct {
	mesh  *mesh.Mesh
	arena allocator
}

// allocator is what memory is handed out from.
type allocator interface {
	Alloc(n int) []byte
	Free(b []byte) bool
	Close()
}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Exchanger = (*Transport)(nil)
	_ transport.Describer = (*Transport)(nil)
	_ transport.Counter   = (*Transport)(nil)
	_ transport.Watcher   = (*Transport)(nil)
	_ transport.Allocator = (*Transport)(nil)
)

func newTransport(cfg Config, a allocator) *Transport {
	return &Transport{arena: a, mesh: mesh.New(mesh.Config{
		Capabilities: transport.Capabilities{Name: "shm", SurvivesPeerLoss: true, Network: true, InPlace: true},
		Rank:         cfg.Rank, Size: cfg.Size, Epoch: cfg.Epoch,
		Limits: cfg.Limits, Log: cfg.Log,
	})}
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

// Alloc returns n bytes of whatever content that all peers can read, or nil where there is no room
// for them in one piece.
func (t *Transport) Alloc(n int) []byte { return t.arena.Alloc(n) }

// Free takes back what Alloc has returned, and reports whether b was that.
func (t *Transport) Free(b []byte) bool { return t.arena.Free(b) }

// Close implements transport.Transport. Memory from Alloc that has not been freed stays readable
// until the process ends.
func (t *Transport) Close() error {
	err := t.mesh.Close()
	t.arena.Close()
	return err
}
