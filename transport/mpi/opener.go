package mpi

import (
	"context"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Opener opens this transport under the name "mpi", for programs that choose transports by name.
type Opener struct {
	// ArenaBytes is that of [Config].
	ArenaBytes int
}

var _ rendezvous.SelfPlaced = Opener{}

// Name is "mpi".
func (Opener) Name() string { return "mpi" }

// PlacesRanks says that rank and size are those of MPI.
func (Opener) PlacesRanks() {}

// Open is [Join] with the size, settings, limits and log of o. Security and Host must not be set:
// MPI connects the ranks.
func (p Opener) Open(ctx context.Context, o rendezvous.Opening) (transport.Transport, error) {
	if err := refused(o); err != nil {
		return nil, err
	}
	t, err := Join(ctx, Config{Size: o.Size, Settings: o.Settings, Limits: o.Limits, ArenaBytes: p.ArenaBytes, Log: o.Log})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// refused is what of o MPI cannot honour.
func refused(o rendezvous.Opening) error {
	var faults []error
	if o.Security.Enabled() {
		faults = append(faults, errors.New("mpi: Security is set, but MPI connects the ranks, and has none"))
	}
	if o.Host != "" {
		faults = append(faults, fmt.Errorf("mpi: Host is %q, but MPI chooses where ranks listen", o.Host))
	}
	return errors.Join(faults...)
}
