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

// Config holds the limits of a rank. The zero value works. Rank and size are those of MPI.
type Config struct {
	// Size is the number of ranks that take part, which are the first of MPI_COMM_WORLD; the others
	// must not call [Join]. 0 means all.
	Size int
	// Settings are what all ranks must agree on, as name and value. A rank that differs is an error
	// that names the setting.
	Settings map[string]string

	// Limits are OpTimeout, CloseTimeout and MaxUnexpectedBytes; the others must not be set.
	//
	// OpTimeout has the default of [transport.DefaultLimits]. There are no signs of life here:
	// MPI's launcher finds that a rank has died, and ends the job. If it does not (options
	// --enable-recovery of mpirun, --no-kill of srun), only this bound ends the waiting of the
	// others: lower it.
	//
	// CloseTimeout bounds how long Close waits for the other ranks' Close if Join has started MPI,
	// since MPI_Finalize needs them all. Default 5 min.
	//
	// MaxUnexpectedBytes counts 64 bytes a message. Longer messages wait at their sender. Default
	// 1 MiB. All ranks must agree.
	transport.Limits

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

func defaultLimits() transport.Limits {
	return transport.Limits{OpTimeout: transport.DefaultOpTimeout, CloseTimeout: 5 * time.Minute, MaxUnexpectedBytes: 1 << 20}
}

// WithDefaults returns c with every zero field that has a default set to it.
func (c Config) WithDefaults() Config {
	c.Limits = c.Limits.WithDefaults(defaultLimits())
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
	faults := []error{c.Limits.Validate("mpi", defaultLimits()), rendezvous.CheckTerms("", c.Settings)}
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf("mpi: "+format, args...))
		}
	}
	fault(c.Size < 0, "Size %d is negative", c.Size)
	fault(c.MaxUnexpectedBytes > math.MaxInt32, "MaxUnexpectedBytes %d is above %d", c.MaxUnexpectedBytes, math.MaxInt32)
	fault(c.ArenaBytes < 0 || c.ArenaBytes > arena.MaxBytes, "ArenaBytes %d is outside 0..%d", c.ArenaBytes, arena.MaxBytes)
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
