//go:build mpi && cgo

package main

import (
	"context"
	"slices"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/mpi"
)

const mpiName = "mpi"

// withMPI adds to joiners what -tags mpi offers: a rank of the job that mpirun has started this process in.
func withMPI(joiners map[string]func(context.Context) (transport.Transport, error)) map[string]func(context.Context) (transport.Transport, error) {
	joiners[mpiName] = func(ctx context.Context) (transport.Transport, error) { return mpi.Join(ctx, mpi.Config{}) }
	return joiners
}

// underMPI returns the command that starts ranks of command, with the options that the peer mpi gets.
func underMPI(command []string, ranks int) []string {
	return slices.Concat(mpirun(ranks), sharedMemory(), command)
}
