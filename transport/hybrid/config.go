package hybrid

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/switchyard-moe/switchyard/transport/internal/arena"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// Config says who this rank is and within which limits it works. The zero value is a job of one
// rank.
type Config struct {
	// Config is that of the streams over TCP, and of the job.
	tcp.Config
	// NoSharedMemory has processes of one machine speak over TCP. It is this rank's own choice.
	NoSharedMemory bool
	// RingBytes is the size of the ring from each rank to each other one of its host: a power of
	// two of at least 4 KiB. All ranks must agree. Default 512 KiB.
	RingBytes int
	// ArenaBytes bounds what Alloc can hand out: address space, of which memory is taken as it is
	// used. Default 16 GiB, or 16 MiB on a system of 32 bits.
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
