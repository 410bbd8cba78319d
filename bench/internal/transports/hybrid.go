package transports

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/hybrid"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// joinHybrid makes this process a rank over the default transport, of the job that package launch
// has described in its environment.
func joinHybrid(ctx context.Context) (transport.Transport, error) {
	place, err := rendezvous.Detect(rendezvous.Process{}, Launched)
	if err != nil {
		return nil, err
	}
	t, err := hybrid.Join(ctx, hybrid.Config{
		Config: tcp.Config{Identity: place.Identity()},
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}
