package grpc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Config says who this rank is and within which limits it works. The zero value is a job of one
// rank.
type Config struct {
	// Rank is this process's number, from 0 to Size-1.
	Rank transport.Rank
	// Size is the number of ranks; 0 means 1.
	Size int
	// Addr is host:port of rank 0's rendezvous. [Join] needs it when Size is above 1; a [Service]
	// does not use it.
	Addr string
	// Job names the job; ranks of another job are strangers.
	Job string
	// Host is the address that [Join] listens on, without a port. Empty means the address by which
	// Addr is reached from here: loopback when Addr is loopback.
	Host string
	// Epoch tells one incarnation of a job from the next; streams of another epoch are refused.
	Epoch uint32
	// Settings are what all ranks must agree on, as name and value.
	Settings map[string]string
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

// Validate reports everything that is wrong with c, and changes nothing. That Addr is missing is
// for [Join] to say.
func (c Config) Validate() error {
	d := c.WithDefaults()
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("grpc: "+format, args...)) }
	if d.Size < 1 || d.Size > maxSize {
		fault("Size %d is outside 1..%d", d.Size, maxSize)
	}
	if d.Rank < 0 || int(d.Rank) >= d.Size {
		fault("Rank %d is outside 0..%d", d.Rank, d.Size-1)
	}
	if d.Addr != "" {
		if _, _, err := net.SplitHostPort(d.Addr); err != nil {
			fault("Addr %q is not host:port: %v", d.Addr, err)
		}
	}
	faults = append(faults, d.faultyLimits()...)
	if err := rendezvous.CheckTerms(d.Job, d.Settings); err != nil {
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
			faults = append(faults, fmt.Errorf("grpc: %s %v is negative", f.name, f.value))
		}
	}
	if c.DeadAfter < 2*c.Heartbeat {
		faults = append(faults, fmt.Errorf("grpc: DeadAfter %v is below twice Heartbeat %v", c.DeadAfter, c.Heartbeat))
	}
	if c.MaxUnexpectedBytes < 0 {
		faults = append(faults, fmt.Errorf("grpc: MaxUnexpectedBytes %d is negative", c.MaxUnexpectedBytes))
	}
	return faults
}
