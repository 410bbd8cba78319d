//go:build mpi && cgo

package transports

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/mpi"
)

// MPI names the transport over MPI, which exists in builds with -tags mpi.
const MPI = "mpi"

// withMPI adds to joiners what -tags mpi offers: a rank of the job that mpirun has started this
// process in.
func withMPI(joiners map[string]func(context.Context) (transport.Transport, error)) map[string]func(context.Context) (transport.Transport, error) {
	joiners[MPI] = func(ctx context.Context) (transport.Transport, error) { return mpi.Join(ctx, mpi.Config{}) }
	return joiners
}
