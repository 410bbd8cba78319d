package tcp

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// Config holds the identity and the limits of a rank. The zero value is a job of one rank.
type Config struct {
	// Identity says which rank of which job this is. At most 4096 ranks.
	rendezvous.Identity
	// Limits have the defaults of [transport.DefaultLimits].
	transport.Limits

	// Host is the address that this rank's mesh listens on, without a port. Empty means the address
	// by which Addr is reached from here: loopback when Addr is loopback.
	Host string
	// LocalSize is the number of ranks on this machine, this one included; 0 where that is not
	// known. Where it is Size, ranks meet on loopback.
	LocalSize int
	// Agent names who started this process, and Restart counts how often that has started it, where
	// a launcher says so: of two processes of one agent that claim a rank, the one with the higher
	// count replaces the other.
	Agent   string
	Restart uint32
	// Security says how ranks know each other: by TLS, which encrypts too, or by a shared secret.
	// It permits addresses other than loopback. All ranks must agree.
	Security secure.Config
	// Insecure permits addresses other than loopback without any security.
	Insecure bool

	// Net is how joining uses the network. Its zero value is the system's. What its Dial and Listen
	// open must be TCP connections of package net.
	Net rendezvous.Net

	// NoPayloadSums leaves messages without a checksum of their own; frame headers keep theirs. The
	// sums cost about a seventh of the processor time of large messages on one machine, with
	// AVX-512. All ranks must agree. Under TLS, which has its own, there are none.
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

// Validate reports everything that is wrong with c, and changes nothing.
func (c Config) Validate() error {
	faults := []error{
		c.Identity.Validate("tcp", maxSize),
		c.Limits.Validate("tcp", transport.DefaultLimits()),
		c.Security.Validate(),
	}
	if size := c.WithDefaults().Size; c.LocalSize < 0 || c.LocalSize > size {
		faults = append(faults, fmt.Errorf("tcp: LocalSize %d is outside 0..%d", c.LocalSize, size))
	}
	return errors.Join(faults...)
}
