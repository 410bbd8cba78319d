package main

import (
	"context"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport/grpc"
	"github.com/switchyard-moe/switchyard/transport/mpi"
	"github.com/switchyard-moe/switchyard/transport/striped"
)

// join makes this process the rank that its launcher says, over the transport of -transport: inproc
// is as hybrid between processes, and tcp is hybrid without shared memory, which knows the
// machines.
func join(ctx context.Context, o options) (*switchyard.World, error) {
	name := o.transport
	if name == inprocTransport || name == tcpTransport {
		name = hybridTransport
	}
	return switchyard.Join(ctx, switchyard.JoinConfig{
		Settings: o.settings, Insecure: o.insecure, Transport: name, NoSharedMemory: o.transport == tcpTransport,
		Transports: []switchyard.Opener{
			grpc.Opener{}, mpi.Opener{},
			striped.Opener{Links: o.lanes, Config: striped.Config{Parity: o.parity}},
		},
	})
}
