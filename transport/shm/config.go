package shm

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/arena"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Config says who this rank is and within which limits it works. The zero value is a job of one
// rank.
type Config struct {
	// Rank is this process's number, from 0 to Size-1.
	Rank transport.Rank
	// Size is the number of ranks, at most 256; 0 means 1.
	Size int
	// Addr is host:port of rank 0's rendezvous, on loopback: whatever host it names, ranks meet on
	// this machine's loopback address. It is needed when Size is above 1.
	Addr string
	// Job names the job; ranks of another job are strangers.
	Job string
	// Agent names who started this process, and Restart counts how often that has started it, where
	// a launcher says so: of two processes of one agent that claim a rank, the one with the higher
	// count replaces the other.
	Agent   string
	Restart uint32
	// Epoch tells one incarnation of a job from the next.
	Epoch uint32
	// Settings are what all ranks must agree on, as name and value. A rank that differs is refused
	// by name.
	Settings map[string]string

	// RingBytes is the size of the ring from each rank to each other one: a power of two. All ranks
	// must agree. Default 512 KiB.
	RingBytes int
	// ArenaBytes bounds what Alloc can hand out. It is address space; memory is taken only as it is
	// used, and kept until Close. Default 16 GiB, or 16 MiB on a system of 32 bits.
	ArenaBytes int

	// Net is how the rendezvous uses the network. Its zero value is the system's.
	Net rendezvous.Net

	// JoinTimeout bounds rendezvous and the opening of the lanes. Default 60 s.
	JoinTimeout time.Duration
	// OpTimeout bounds one Send, Recv or Exchange, from when it first has to wait. Default
	// [transport.DefaultOpTimeout], 30 min; negative ([transport.NoTimeout]) is no bound.
	OpTimeout time.Duration
	// Heartbeat is the time between signs of life. Default 500 ms, or a quarter of DeadAfter if
	// that is less.
	Heartbeat time.Duration
	// DeadAfter is the silence after which a peer is dead. It is for a machine that vanishes: a
	// process that dies ends its connections, which is found at once. Default 30 s; at least twice
	// Heartbeat.
	DeadAfter time.Duration

	// MaxUnexpectedBytes bounds, for each peer, what is kept of messages that nobody has asked for,
	// 128 bytes a message included. Default 64 MiB.
	MaxUnexpectedBytes int

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
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orTime := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	orInt(&c.Size, 1)
	orInt(&c.RingBytes, 512<<10)
	orInt(&c.ArenaBytes, arena.DefaultBytes)
	orInt(&c.MaxUnexpectedBytes, 64<<20)
	orTime(&c.JoinTimeout, 60*time.Second)
	orTime(&c.OpTimeout, transport.DefaultOpTimeout)
	mesh.Rhythm(&c.Heartbeat, &c.DeadAfter)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports everything that is wrong with c, and changes nothing.
func (c Config) Validate() error {
	d := c.WithDefaults()
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("shm: "+format, args...)) }
	if d.Size < 1 || d.Size > maxSize {
		fault("Size %d is outside 1..%d", d.Size, maxSize)
	}
	if d.Rank < 0 || int(d.Rank) >= d.Size {
		fault("Rank %d is outside 0..%d", d.Rank, d.Size-1)
	}
	if d.Size > 1 {
		if _, _, err := net.SplitHostPort(d.Addr); err != nil {
			fault("Addr %q is not host:port: %v", d.Addr, err)
		}
	}
	if d.RingBytes < minRingBytes || d.RingBytes > maxRingBytes || bits.OnesCount(uint(d.RingBytes)) != 1 {
		fault("RingBytes %d is no power of two in %d..%d", d.RingBytes, minRingBytes, maxRingBytes)
	}
	if d.ArenaBytes < 0 || d.ArenaBytes > arena.MaxBytes {
		fault("ArenaBytes %d is outside 0..%d", d.ArenaBytes, arena.MaxBytes)
	}
	if d.MaxUnexpectedBytes < 0 {
		fault("MaxUnexpectedBytes %d is negative", d.MaxUnexpectedBytes)
	}
	faults = append(faults, d.faultyTimes()...)
	if err := rendezvous.CheckTerms(d.Job, d.Settings); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

func (c Config) faultyTimes() (faults []error) {
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"JoinTimeout", c.JoinTimeout}, {"Heartbeat", c.Heartbeat}, {"DeadAfter", c.DeadAfter},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("shm: %s %v is negative", f.name, f.value))
		}
	}
	if c.DeadAfter < 2*c.Heartbeat {
		faults = append(faults, fmt.Errorf("shm: DeadAfter %v is below twice Heartbeat %v", c.DeadAfter, c.Heartbeat))
	}
	return faults
}
