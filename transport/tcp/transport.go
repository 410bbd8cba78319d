package tcp

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/internal/meshjoin"
)

// Transport is one rank's end of the mesh. It implements transport.Transport, Exchanger, Describer,
// Counter and Watcher. All methods may be called from any number of goroutines at once.
type Transport struct{ mesh *mesh.Mesh }

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Exchanger = (*Transport)(nil)
	_ transport.Describer = (*Transport)(nil)
	_ transport.Counter   = (*Transport)(nil)
	_ transport.Watcher   = (*Transport)(nil)
)

// Join meets the other ranks at cfg.Addr, connects to every one of them and returns this rank's end
// of the mesh, once all ranks have done so. It ends when ctx does or cfg.JoinTimeout passes, here
// or on another rank. Its errors are those of [rendezvous.Start] and *transport.Error with the
// operation "join".
func Join(ctx context.Context, cfg Config) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := meshjoin.Join(ctx, meshjoin.Config(cfg.WithDefaults()), nil)
	if err != nil {
		return nil, err
	}
	return &Transport{m}, nil
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

// Close implements [transport.Transport].
func (t *Transport) Close() error { return t.mesh.Close() }
