//go:build !mpi || !cgo

package main

// moreTransports are those that the build tag mpi adds.
func moreTransports() []string { return nil }
