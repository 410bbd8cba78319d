package grpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Opener opens this transport under the name "grpc", for programs that choose transports by name:
//
//	switchyard.JoinConfig{Transport: "grpc", Transports: []switchyard.Opener{grpc.Opener{}}}
type Opener struct {
	// Credentials, Authorize, DialOptions, ServerOptions, Health and NoPayloadSums are those of
	// [Config].
	Credentials   credentials.TransportCredentials
	Authorize     func(info credentials.AuthInfo, rank transport.Rank) error
	DialOptions   []grpc.DialOption
	ServerOptions []grpc.ServerOption
	Health        bool
	NoPayloadSums bool
}

var _ rendezvous.Opener = Opener{}

// Name is "grpc".
func (Opener) Name() string { return "grpc" }

// Open is [Join] with the terms of o, whose Security must not be set: gRPC has its own, in
// Credentials.
func (p Opener) Open(ctx context.Context, o rendezvous.Opening) (transport.Transport, error) {
	if o.Security.Enabled() {
		return nil, errors.New("grpc: Security is set, but gRPC has its own: set Credentials of grpc.Opener instead")
	}
	t, err := Join(ctx, Config{
		Identity: o.Identity, Limits: o.Limits, Host: o.Host, LocalSize: o.LocalSize, Agent: o.Agent, Restart: o.Restart,
		Insecure: o.Insecure, Net: o.Net, Log: o.Log,
		Credentials: p.Credentials, Authorize: p.Authorize, DialOptions: p.DialOptions, ServerOptions: p.ServerOptions,
		Health: p.Health, NoPayloadSums: p.NoPayloadSums,
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}
