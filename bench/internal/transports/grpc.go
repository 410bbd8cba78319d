package transports

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/grpc"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// joinGRPC makes this process a rank over gRPC, of the job that package launch has described in its
// environment.
func joinGRPC(ctx context.Context) (transport.Transport, error) {
	place, err := rendezvous.Detect(rendezvous.Process{}, Launched)
	if err != nil {
		return nil, err
	}
	return grpc.Join(ctx, grpc.Config{Identity: place.Identity()})
}
