package shm

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/arena"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Config holds the identity and the limits of a rank. The zero value is a job of one rank.
type Config struct {
	// Identity says which rank of which job this is. At most 256 ranks. They meet on this machine's
	// loopback address, whatever host Addr names.
	rendezvous.Identity
	// Limits have the defaults of [transport.DefaultLimits].
	transport.Limits

	// Agent names who started this process, and Restart counts how often that has started it, where
	// a launcher says so: of two processes of one agent that claim a rank, the one with the higher
	// count replaces the other.
	Agent   string
	Restart uint32

	// RingBytes is the size of the ring from each rank to each other one: a power of two. All ranks
	// must agree. Default 512 KiB.
	RingBytes int
	// ArenaBytes bounds what Alloc can hand out. It is address space; memory is taken only as it is
	// used, and kept until Close. Default 16 GiB, or 16 MiB on a system of 32 bits.
	ArenaBytes int

	// Net is how the rendezvous uses the network. Its zero value is the system's.
	Net rendezvous.Net

	// Log receives what happens to the mesh; nil is silent.
	Log *slog.Logger
}

// Limits of Config.
const (
	maxSize      = 256
	minRingBytes = 4 << 10
	maxRingBytes = 1 << 30
)

// WithDefaults returns c with every zero field that has a default set to it.
func (c Config) WithDefaults() Config {
	c.Identity = c.Identity.WithDefaults()
	c.Limits = c.Limits.WithDefaults(transport.DefaultLimits())
	if c.RingBytes == 0 {
		c.RingBytes = 512 << 10
	}
	if c.ArenaBytes == 0 {
		c.ArenaBytes = arena.DefaultBytes
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports everything that is wrong with c, and changes nothing.
func (c Config) Validate() error {
	d := c.WithDefaults()
	faults := []error{c.Identity.Validate("shm", maxSize), c.Limits.Validate("shm", transport.DefaultLimits())}
	if d.RingBytes < minRingBytes || d.RingBytes > maxRingBytes || bits.OnesCount(uint(d.RingBytes)) != 1 {
		faults = append(faults, fmt.Errorf("shm: RingBytes %d is no power of two in %d..%d", d.RingBytes, minRingBytes, maxRingBytes))
	}
	if d.ArenaBytes < 0 || d.ArenaBytes > arena.MaxBytes {
		faults = append(faults, fmt.Errorf("shm: ArenaBytes %d is outside 0..%d", d.ArenaBytes, arena.MaxBytes))
	}
	return errors.Join(faults...)
}
