package tcp

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Opener opens this transport under the name "tcp", for programs that choose transports by name.
type Opener struct {
	// NoPayloadSums is that of [Config].
	NoPayloadSums bool
}

var _ rendezvous.Opener = Opener{}

// Name is "tcp".
func (Opener) Name() string { return "tcp" }

// Open is [Join] with the terms of o.
func (p Opener) Open(ctx context.Context, o rendezvous.Opening) (transport.Transport, error) {
	cfg := ConfigOf(o)
	cfg.NoPayloadSums = p.NoPayloadSums
	t, err := Join(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// ConfigOf returns the configuration that has the terms of o.
func ConfigOf(o rendezvous.Opening) Config {
	return Config{
		Identity: o.Identity, Limits: o.Limits,
		Host: o.Host, LocalSize: o.LocalSize, Agent: o.Agent, Restart: o.Restart,
		Security: o.Security, Insecure: o.Insecure, Net: o.Net, Log: o.Log,
	}
}
