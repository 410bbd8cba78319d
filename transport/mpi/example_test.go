//go:build !mpi

package mpi_test

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport/mpi"
)

// In a build without the tag mpi there is no MPI to join.
func ExampleJoin() {
	_, err := mpi.Join(context.Background(), mpi.Config{})
	fmt.Println(err != nil)
	// Output: true
}
