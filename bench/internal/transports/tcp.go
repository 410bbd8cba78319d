package transports

import (
	"context"
	"os"
	"strings"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// joinTCP makes this process a rank over TCP, of the job that package launch has described in its
// environment.
func joinTCP(ctx context.Context) (transport.Transport, error) { return openTCP(ctx, tcp.Config{}) }

// joinTCPUnsummed does the same without checksums of messages, which Open MPI and Gloo do not take
// either.
func joinTCPUnsummed(ctx context.Context) (transport.Transport, error) {
	return openTCP(ctx, tcp.Config{NoPayloadSums: true})
}

func openTCP(ctx context.Context, cfg tcp.Config) (transport.Transport, error) {
	place, err := rendezvous.Detect(rendezvous.Process{}, Launched)
	if err != nil {
		return nil, err
	}
	cfg.Rank, cfg.Size, cfg.Addr, cfg.Job = place.Rank, place.Size, place.Addr, place.Job
	return tcp.Join(ctx, cfg)
}

// Launched is os.Getenv without our own variables: where the user's jobs meet is not where a
// measurement does.
func Launched(name string) string {
	if strings.HasPrefix(name, "SWITCHYARD_") {
		return ""
	}
	return os.Getenv(name)
}
