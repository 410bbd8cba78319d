package shm

import (
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
)

// Transport is one rank's end. It implements transport.Transport, Exchanger, Describer, Counter and Allocator. All
// methods may be called from any number of goroutines at once.
type Transport struct {
	*mesh.Mesh
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
	_ transport.Allocator = (*Transport)(nil)
)

// closePatience bounds how long Close waits for peers. There is little to wait for: they read what was sent from memory
// that they hold themselves.
const closePatience = 2 * time.Second

func newTransport(cfg Config, a allocator) *Transport {
	return &Transport{arena: a, Mesh: mesh.New(mesh.Config{
		Capabilities: transport.Capabilities{Name: "shm", SurvivesPeerLoss: true, Network: true, InPlace: true},
		Rank:         cfg.Rank, Size: cfg.Size, Epoch: cfg.Epoch,
		OpTimeout: cfg.OpTimeout, Heartbeat: cfg.Heartbeat, DeadAfter: cfg.DeadAfter, CloseTimeout: closePatience,
		MaxUnexpectedBytes: cfg.MaxUnexpectedBytes, Log: cfg.Log,
	})}
}

// Alloc returns n bytes of whatever content that all peers can read, or nil where there is no room for them in one piece.
func (t *Transport) Alloc(n int) []byte { return t.arena.Alloc(n) }

// Free takes back what Alloc has returned, and reports whether b was that.
func (t *Transport) Free(b []byte) bool { return t.arena.Free(b) }

// Close implements transport.Transport. Memory from Alloc that has not been freed stays readable until the process
// ends.
func (t *Transport) Close() error {
	err := t.Mesh.Close()
	t.arena.Close()
	return err
}
