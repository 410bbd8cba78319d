package hybrid

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/arena"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// Config says who this rank is and within which limits it works. The zero value is a job of one rank.
type Config struct {
	// Config is that of the lanes over TCP, and of the job.
	tcp.Config
	// NoSharedMemory has processes of one machine speak over TCP. It is this rank's own choice.
	NoSharedMemory bool
	// RingBytes is the size of the ring from each rank to each other one of its host: a power of two of at least 4 KiB.
	// All ranks must agree. Default 512 KiB.
	RingBytes int
	// ArenaBytes bounds what Alloc can hand out: address space, of which memory is taken as it is used. Default 16 GiB, or
	// 16 MiB on a system of 32 bits.
	ArenaBytes int

	process string // in place of this process's name, for tests
}

// Limits of Config.
const (
	minRingBytes = 4 << 10
	maxRingBytes = 1 << 30
)

// WithDefaults returns c with every zero field that has a default set to it.
func (c Config) WithDefaults() Config {
	c.Config = c.Config.WithDefaults()
	if c.RingBytes == 0 {
		c.RingBytes = 512 << 10
	}
	if c.ArenaBytes == 0 {
		c.ArenaBytes = arena.DefaultBytes
	}
	return c
}

// Validate reports everything that is wrong with c, and changes nothing.
func (c Config) Validate() error {
	d := c.WithDefaults()
	faults := []error{c.Config.Validate()}
	if d.RingBytes < minRingBytes || d.RingBytes > maxRingBytes || bits.OnesCount(uint(d.RingBytes)) != 1 {
		faults = append(faults, fmt.Errorf("hybrid: RingBytes %d is no power of two in %d..%d", d.RingBytes, minRingBytes, maxRingBytes))
	}
	if d.ArenaBytes < 0 || d.ArenaBytes > arena.MaxBytes {
		faults = append(faults, fmt.Errorf("hybrid: ArenaBytes %d is outside 0..%d", d.ArenaBytes, arena.MaxBytes))
	}
	return errors.Join(faults...)
}

// Transport is one rank's end. It implements transport.Transport, Exchanger, Describer, Counter and Allocator. All
// methods may be called from any number of goroutines at once.
type Transport struct {
	*tcp.Transport
	ways   []Way
	nodes  []int
	shared sharer
}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Exchanger = (*Transport)(nil)
	_ transport.Describer = (*Transport)(nil)
	_ transport.Counter   = (*Transport)(nil)
	_ transport.Allocator = (*Transport)(nil)
)

// Way is how a peer is reached.
type Way string

// The ways there are. A rank reaches itself in process.
const (
	InProcess    Way = "inproc"
	SharedMemory Way = "shm"
	Network      Way = "tcp"
)

// Join meets the other ranks at cfg.Addr, opens the fastest way to every one of them and returns this rank's end. It ends
// when ctx does or cfg.JoinTimeout passes, here or on another rank. Its errors are those of [tcp.Join].
func Join(ctx context.Context, cfg Config) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	shared, err := openShared(&cfg)
	if err != nil {
		return nil, &transport.Error{Rank: cfg.Rank, Op: "join", Err: err}
	}
	n := newNear(&cfg, shared)
	t, err := tcp.JoinNear(ctx, cfg.Config, n)
	if err != nil {
		n.forget()
		shared.close()
		return nil, err
	}
	return &Transport{Transport: t, ways: n.ways, nodes: n.nodes, shared: shared}, nil
}

// Way is how messages reach peer r.
func (t *Transport) Way(r transport.Rank) Way { return t.ways[r] }

// Nodes is the number of each rank's node, from 0 on without gaps, the same on every rank: ranks of one process, or that share memory, are on
// one, even where two of them had to take TCP because sharing was refused. With Config.NoSharedMemory a rank's processes are nodes of their own. It is nil for a job of one rank. The caller must not change it.
func (t *Transport) Nodes() []int { return t.nodes }

// Capabilities describes the transport: it is encrypted if that which leaves the machine is. Its name is that of the way to
// the peers, or "hybrid" where there are several.
func (t *Transport) Capabilities() transport.Capabilities {
	c := t.Transport.Capabilities()
	used := make(map[Way]bool)
	for r, w := range t.ways {
		if transport.Rank(r) != t.Rank() {
			used[w] = true
			c.Name = string(w)
		}
	}
	if len(used) != 1 {
		c.Name = "hybrid"
	}
	c.InPlace = used[SharedMemory]
	return c
}

// Alloc returns n bytes of whatever content that peers of this host can read in place, or nil where there are none
// or no room for them in one piece.
func (t *Transport) Alloc(n int) []byte { return t.shared.alloc(n) }

// Free takes back what Alloc has returned, and reports whether b was that.
func (t *Transport) Free(b []byte) bool { return t.shared.free(b) }

// Close implements transport.Transport. Memory from Alloc that has not been freed stays readable until the process
// ends.
func (t *Transport) Close() error {
	err := t.Transport.Close()
	t.shared.close()
	return err
}
