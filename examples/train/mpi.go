//go:build mpi && cgo

package main

import (
	"context"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport/mpi"
)

// moreTransports are those that this build adds.
func moreTransports() []string { return []string{mpiTransport} }

// joinMPI makes this process a rank of the job that mpirun has started it in. Messages travel over
// MPI.
func joinMPI(ctx context.Context, o options) (*switchyard.World, error) {
	t, err := mpi.Join(ctx, mpi.Config{Settings: o.settings})
	if err != nil {
		return nil, err
	}
	return switchyard.NewWorld(t), nil
}
