package shm

import (
	"context"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Opener opens this transport under the name "shm", for programs that choose transports by name.
type Opener struct {
	// RingBytes and ArenaBytes are those of [Config].
	RingBytes, ArenaBytes int
}

var _ rendezvous.Opener = Opener{}

// Name is "shm".
func (Opener) Name() string { return "shm" }

// Open is [Join] with the terms of o, whose Security and Host must not be set. Ranks that are known
// to run on several machines are an error.
func (p Opener) Open(ctx context.Context, o rendezvous.Opening) (transport.Transport, error) {
	if err := refused(o); err != nil {
		return nil, err
	}
	t, err := Join(ctx, Config{
		Identity: o.Identity, Limits: o.Limits, Agent: o.Agent, Restart: o.Restart,
		RingBytes: p.RingBytes, ArenaBytes: p.ArenaBytes, Net: o.Net, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// refused is what of o shared memory cannot honour.
func refused(o rendezvous.Opening) error {
	var faults []error
	if o.Security.Enabled() {
		faults = append(faults, errors.New("shm: Security is set, but the ranks of one machine's memory have none: use hybrid"))
	}
	if o.Host != "" {
		faults = append(faults, fmt.Errorf("shm: Host is %q, but ranks meet on loopback", o.Host))
	}
	if size := o.Identity.WithDefaults().Size; o.LocalSize > 0 && o.LocalSize < size {
		faults = append(faults, fmt.Errorf("shm: only %d of %d ranks run on this machine, and memory is shared within one: use hybrid", o.LocalSize, size))
	}
	return errors.Join(faults...)
}
