package mpi

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/arena"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Config says within which limits a rank works. The zero value works. Rank and size are MPI's to
// say.
type Config struct {
	// Size is the number of ranks that take part, which are the first of MPI_COMM_WORLD; the others
	// must not call [Join]. 0 means all.
	Size int
	// Settings are what all ranks must agree on, as name and value. A rank that differs is an error
	// that names the setting.
	Settings map[string]string

	// OpTimeout bounds one Send, Recv or Exchange, from when it first has to wait. Default
	// [transport.DefaultOpTimeout], 30 min; negative ([transport.NoTimeout]) is no bound. There are
	// no signs of life here: MPI's launcher finds that a rank has died, and ends the job. If it
	// does not (options --enable-recovery of mpirun, --no-kill of srun), only this bound ends the
	// waiting of the others: lower it.
	OpTimeout time.Duration
	// CloseTimeout bounds how long Close waits for the other ranks' Close where Join has started
	// MPI, since MPI_Finalize needs them all. Default 5 min.
	CloseTimeout time.Duration

	// MaxUnexpectedBytes bounds, for each peer, what is kept of short messages that nobody has
	// asked for, 64 bytes a message included. Longer messages wait at their sender. Default 1 MiB.
	// All ranks must agree.
	MaxUnexpectedBytes int

	// ArenaBytes bounds what Alloc can hand out: address space, of which memory is taken as it is
	// used. Default 16 GiB, or 16 MiB on a system of 32 bits.
	ArenaBytes int

	// Log receives what happens to the transport; nil is silent.
	Log *slog.Logger

	transferBytes int // the most that MPI is asked to move at once; less in tests
}

// maxTransfer is how much of a message MPI moves at once: it counts in an int of 32 bits. A longer
// message is cut.
const maxTransfer = 1 << 30

// WithDefaults returns c with every zero field that has a default set to it.
func (c Config) WithDefaults() Config {
	if c.OpTimeout == 0 {
		c.OpTimeout = transport.DefaultOpTimeout
	}
	if c.CloseTimeout == 0 {
		c.CloseTimeout = 5 * time.Minute
	}
	if c.MaxUnexpectedBytes == 0 {
		c.MaxUnexpectedBytes = 1 << 20
	}
	if c.ArenaBytes == 0 {
		c.ArenaBytes = arena.DefaultBytes
	}
	if c.transferBytes == 0 {
		c.transferBytes = maxTransfer
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports everything that is wrong with c, and changes nothing.
func (c Config) Validate() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf("mpi: "+format, args...))
		}
	}
	fault(c.Size < 0, "Size %d is negative", c.Size)
	fault(c.CloseTimeout < 0, "CloseTimeout %v is negative", c.CloseTimeout)
	fault(c.MaxUnexpectedBytes < 0 || c.MaxUnexpectedBytes > math.MaxInt32,
		"MaxUnexpectedBytes %d is outside 0..%d", c.MaxUnexpectedBytes, math.MaxInt32)
	fault(c.ArenaBytes < 0 || c.ArenaBytes > arena.MaxBytes, "ArenaBytes %d is outside 0..%d", c.ArenaBytes, arena.MaxBytes)
	if err := rendezvous.CheckTerms("", c.Settings); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// terms are the settings that all ranks must agree on: the user's and those of the wire.
func (c Config) terms() map[string]string {
	terms := map[string]string{
		"mpi.version":              strconv.Itoa(version),
		"mpi.transfer_bytes":       strconv.Itoa(c.transferBytes),
		"mpi.max_unexpected_bytes": strconv.Itoa(c.MaxUnexpectedBytes),
	}
	for k, v := range c.Settings {
		terms[k] = v
	}
	return terms
}
