//go:build mpi && cgo

package main

// moreTransports are those that this build adds.
func moreTransports() []string { return []string{mpiTransport} }
