package grpc

import (
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Config holds the identity and the limits of a rank. The zero value is a job of one rank.
type Config struct {
	// Identity says which rank of which job this is. At most 4096 ranks. [Join] needs its Addr; a
	// [Service] does not use it.
	rendezvous.Identity
	// Limits have the defaults of [transport.DefaultLimits].
	transport.Limits

	// Host is the address that [Join] listens on, without a port. Empty means the address by which
	// Addr is reached from here: loopback when Addr is loopback.
	Host string
	// LocalSize is the number of ranks on this machine, this one included; 0 where that is not
	// known. Where it is Size, ranks of [Join] meet on loopback.
	LocalSize int
	// Agent names who started this process, and Restart counts how often that has started it, where
	// a launcher says so: of two processes of one agent that claim a rank in [Join], the one with
	// the higher count replaces the other.
	Agent   string
	Restart uint32
	// Insecure permits connections that are neither encrypted nor authenticated with other
	// addresses than loopback, and a rendezvous there.
	Insecure bool

	// Credentials secure the connections: those this rank dials and, with [Join], those it accepts.
	// Nil is none.
	Credentials credentials.TransportCredentials
	// Authorize decides whether a connection may speak for a rank, from what its credentials prove;
	// nil lets every connection that the credentials admit. It is asked by both ends, and may be
	// called from several goroutines.
	Authorize func(info credentials.AuthInfo, rank transport.Rank) error
	// DialOptions are added to those by which peers are dialled, and ServerOptions to those of
	// [Join]'s server. They come last, so that they win, but for keepalive, since the mesh has
	// heartbeats and servers may forbid pings: over links that are long and wide at once, wider
	// windows for one (the default is 512 KiB).
	DialOptions   []grpc.DialOption
	ServerOptions []grpc.ServerOption
	// Health has [Join]'s server answer health checks too. What else a server should offer,
	// reflection for one, is registered by the program that runs it; see [Service].
	Health bool

	// Net is how [Join] meets the other ranks and listens for them. Its zero value is the system's.
	// Connections are dialled by gRPC: see DialOptions.
	Net rendezvous.Net

	// NoPayloadSums leaves messages without a checksum of their own; frame headers keep theirs. All
	// ranks must agree.
	NoPayloadSums bool

	// Log receives what happens to the mesh; nil is silent.
	Log *slog.Logger
}

// maxSize bounds the ranks of a job: a full mesh has two descriptors for each.
const maxSize = 4096

// WithDefaults returns c with every zero field that has a default set to it.
func (c Config) WithDefaults() Config {
	c.Identity = c.Identity.WithDefaults()
	c.Limits = c.Limits.WithDefaults(transport.DefaultLimits())
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports everything that is wrong with c, and changes nothing. That Addr is missing is
// for [Join] to say.
func (c Config) Validate() error {
	if c.Addr == "" {
		c.Addr = "localhost:0" // any that is valid
	}
	faults := []error{c.Identity.Validate("grpc", maxSize), c.Limits.Validate("grpc", transport.DefaultLimits())}
	if size := c.Identity.WithDefaults().Size; c.LocalSize < 0 || c.LocalSize > size {
		faults = append(faults, fmt.Errorf("grpc: LocalSize %d is outside 0..%d", c.LocalSize, size))
	}
	return errors.Join(faults...)
}
