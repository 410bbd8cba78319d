// Package grpc is the transport over gRPC: a full mesh of bidirectional streams, for where gRPC is
// what may pass.
//
// Every pair of ranks shares two streams, one for messages and one for heartbeats, farewells and
// aborts, each on a connection of its own, so that neither waits for the other. How messages are
// matched and moved, and how faults are found and reported, is the same for all transports between
// processes and written in package transport/internal/mesh.
//
// # Two ways in
//
// [Join] listens, meets the other ranks at a rendezvous, and serves nothing but this. [NewService]
// makes the same mesh a service of a grpc.Server that the program runs anyway, under whatever that
// server has of credentials, interceptors and other services; the program says where the peers are.
//
// # What travels
//
// The data stream carries bytes that gRPC does not interpret, in chunks of at most 256 KiB. The
// control plane is described in transport/internal/controlpb/control.proto. A stream opens with a
// hello in both directions, and nothing else is believed before it has been checked. Who a peer is,
// is what the connection's credentials prove ([Config.Authorize]); that it knows a method's name
// proves nothing.
//
// # Cost
//
// gRPC writes HTTP/2 frames of 16 KiB and moves each through two goroutines. Beside package tcp the
// bytes are copied four times more: once into a chunk, by gRPC into and out of its buffers for the
// connection, and out of its frames.
package grpc
