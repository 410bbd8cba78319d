package transports

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/shm"
)

// joinSHM makes this process a rank over shared memory, of the job that package launch has
// described in its environment. Messages then lie in memory of the transport, as those of a layer
// do.
func joinSHM(ctx context.Context) (transport.Transport, error) {
	t, err := openSHM(ctx)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// joinSHMPlain does the same for messages that lie in Go's memory, as those of another program
// may.
func joinSHMPlain(ctx context.Context) (transport.Transport, error) {
	t, err := openSHM(ctx)
	if err != nil {
		return nil, err
	}
	return plainMemory{t}, nil
}

func openSHM(ctx context.Context) (*shm.Transport, error) {
	place, err := rendezvous.Detect(rendezvous.Process{}, Launched)
	if err != nil {
		return nil, err
	}
	return shm.Join(ctx, shm.Config{Identity: place.Identity()})
}

// plainMemory has no memory of its own to offer.
type plainMemory struct{ *shm.Transport }

func (plainMemory) Alloc(int) []byte { return nil }
func (plainMemory) Free([]byte) bool { return false }
