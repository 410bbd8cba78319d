//go:build !mpi || !cgo

package main

import (
	"context"
	"errors"

	"github.com/switchyard-moe/switchyard"
)

// moreTransports are those that the build tag mpi adds.
func moreTransports() []string { return nil }

// joinMPI fails: no flag asks for it in a build without MPI.
func joinMPI(context.Context, options) (*switchyard.World, error) { return nil, errors.ErrUnsupported }
