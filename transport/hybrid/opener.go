package hybrid

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// Opener opens this transport under the name "hybrid", for programs that choose transports by name.
type Opener struct {
	// NoSharedMemory, RingBytes and ArenaBytes are those of [Config].
	NoSharedMemory        bool
	RingBytes, ArenaBytes int
}

var _ rendezvous.Opener = Opener{}

// Name is "hybrid".
func (Opener) Name() string { return "hybrid" }

// Open is [Join] with the terms of o.
func (p Opener) Open(ctx context.Context, o rendezvous.Opening) (transport.Transport, error) {
	t, err := Join(ctx, Config{
		Config: tcp.ConfigOf(o), NoSharedMemory: p.NoSharedMemory, RingBytes: p.RingBytes, ArenaBytes: p.ArenaBytes,
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}
