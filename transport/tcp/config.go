package tcp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// Config says who this rank is and within which limits it works. The zero value is a job of one
// rank.
type Config struct {
	// Rank is this process's number, from 0 to Size-1.
	Rank transport.Rank
	// Size is the number of ranks; 0 means 1.
	Size int
	// Addr is host:port of rank 0's rendezvous. It is needed when Size is above 1.
	Addr string
	// Job names the job; ranks of another job are strangers.
	Job string
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
	// Epoch tells one incarnation of a job from the next; frames of another epoch are refused.
	Epoch uint32
	// Settings are what all ranks must agree on, as name and value. A rank that differs is refused
	// by name.
	Settings map[string]string
	// Security says how ranks know each other: by TLS, which encrypts too, or by a shared secret.
	// It permits addresses other than loopback. All ranks must agree.
	Security secure.Config
	// Insecure permits addresses other than loopback without any security.
	Insecure bool

	// Net is how joining uses the network. Its zero value is the system's. What its Dial and Listen
	// open must be TCP connections of package net.
	Net rendezvous.Net

	// JoinTimeout bounds rendezvous and the building of the mesh. Default 60 s.
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
	// CloseTimeout bounds how long Close waits for peers to take what was sent to them. Default 2 s.
	CloseTimeout time.Duration

	// MaxUnexpectedBytes bounds, for each peer, what is kept of messages that nobody has asked for,
	// 128 bytes a message included. Default 64 MiB.
	MaxUnexpectedBytes int

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
	orInt(&c.MaxUnexpectedBytes, 64<<20)
	orTime(&c.JoinTimeout, 60*time.Second)
	orTime(&c.OpTimeout, transport.DefaultOpTimeout)
	mesh.Rhythm(&c.Heartbeat, &c.DeadAfter)
	orTime(&c.CloseTimeout, 2*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports everything that is wrong with c, and changes nothing.
func (c Config) Validate() error {
	d := c.WithDefaults()
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("tcp: "+format, args...)) }
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
	if d.LocalSize < 0 || d.LocalSize > d.Size {
		fault("LocalSize %d is outside 0..%d", d.LocalSize, d.Size)
	}
	faults = append(faults, d.faultyLimits()...)
	if err := rendezvous.CheckTerms(d.Job, d.Settings); err != nil {
		faults = append(faults, err)
	}
	if err := d.Security.Validate(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

func (c Config) faultyLimits() (faults []error) {
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"JoinTimeout", c.JoinTimeout}, {"Heartbeat", c.Heartbeat},
		{"DeadAfter", c.DeadAfter}, {"CloseTimeout", c.CloseTimeout},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("tcp: %s %v is negative", f.name, f.value))
		}
	}
	if c.DeadAfter < 2*c.Heartbeat {
		faults = append(faults, fmt.Errorf("tcp: DeadAfter %v is below twice Heartbeat %v", c.DeadAfter, c.Heartbeat))
	}
	if c.MaxUnexpectedBytes < 0 {
		faults = append(faults, fmt.Errorf("tcp: MaxUnexpectedBytes %d is negative", c.MaxUnexpectedBytes))
	}
	return faults
}
