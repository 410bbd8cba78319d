//go:build !mpi || !cgo

package mpi

import "errors"

// openPort says what it takes to have MPI.
func openPort(int) (port, error) {
	return nil, errors.New("mpi: this program was built without MPI: build it with cgo and -tags mpi, on Debian with the package libopenmpi-dev")
}
