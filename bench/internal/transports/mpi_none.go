//go:build !mpi || !cgo

package transports

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
)

// MPI names the transport over MPI, which exists in builds with -tags mpi.
const MPI = "mpi"

// withMPI adds nothing without -tags mpi.
func withMPI(joiners map[string]func(context.Context) (transport.Transport, error)) map[string]func(context.Context) (transport.Transport, error) {
	return joiners
}
