package rendezvous

import (
	"errors"
	"fmt"
	"net"

	"github.com/switchyard-moe/switchyard/transport"
)

// Identity says which rank of which job a process is. Transports embed it in their configuration.
// The zero value is a job of one rank.
type Identity struct {
	// Rank is this process's number, from 0 to Size-1.
	Rank transport.Rank
	// Size is the number of ranks; 0 means 1.
	Size int
	// Addr is the host:port of rank 0's rendezvous. It is needed if Size is above 1.
	Addr string
	// Job names the job, at most 128 bytes; connections of another job are refused.
	Job string
	// Epoch distinguishes one start of a job from the next; connections of another epoch are
	// refused.
	Epoch uint32
	// Settings are what all ranks must agree on, as name and value, at most 2 KiB as text. A rank
	// that differs is refused with the names of its settings that differ.
	Settings map[string]string
}

// WithDefaults returns i with the size of a job of one rank if Size is 0.
func (i Identity) WithDefaults() Identity {
	if i.Size == 0 {
		i.Size = 1
	}
	return i
}

// Validate returns everything that is wrong with i for the transport called name, which connects at
// most maxSize ranks, or nil.
func (i Identity) Validate(name string, maxSize int) error {
	i = i.WithDefaults()
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(name+": "+format, args...)) }
	if i.Size < 1 || i.Size > maxSize {
		fault("Size %d is outside 1..%d", i.Size, maxSize)
	}
	if i.Rank < 0 || int(i.Rank) >= i.Size {
		fault("Rank %d is outside 0..%d", i.Rank, i.Size-1)
	}
	if i.Size > 1 {
		if _, _, err := net.SplitHostPort(i.Addr); err != nil {
			fault("Addr %q is not host:port: %v", i.Addr, err)
		}
	}
	if err := CheckTerms(i.Job, i.Settings); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// Identity returns the identity of p, for the configuration of a transport.
func (p Process) Identity() Identity {
	return Identity{Rank: p.Rank, Size: p.Size, Addr: p.Addr, Job: p.Job}
}
