package main

import (
	"context"
	"os"
	"strings"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// joinTCP makes this process a rank over TCP, of the job that package launch has described in its environment.
func joinTCP(ctx context.Context) (transport.Transport, error) {
	place, err := rendezvous.Detect(rendezvous.Place{}, launched)
	if err != nil {
		return nil, err
	}
	return tcp.Join(ctx, tcp.Config{Rank: place.Rank, Size: place.Size, Addr: place.Addr, Job: place.Job})
}

// launched is os.Getenv without our own variables: where the user's jobs meet is not where a measurement does.
func launched(name string) string {
	if strings.HasPrefix(name, "SWITCHYARD_") {
		return ""
	}
	return os.Getenv(name)
}
