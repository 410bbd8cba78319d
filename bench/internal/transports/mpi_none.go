//go:build !mpi || !cgo

package transports

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
)

const MPI = "mpi"

// withMPI adds nothing without -tags mpi.
func withMPI(joiners map[string]func(context.Context) (transport.Transport, error)) map[string]func(context.Context) (transport.Transport, error) {
	return joiners
}
