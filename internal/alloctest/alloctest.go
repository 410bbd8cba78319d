// Package alloctest counts allocations in a way that a busy machine does not disturb.
package alloctest

import "testing"

// Least returns the least number of allocations that one call of f makes in up to tries calls,
// after one call that is not counted. It stops at the first call that makes none.
//
// One count of the process includes what its other goroutines allocate, and what a sync.Pool makes
// anew after a garbage collection (or, under the race detector, at random). Both only add, so the
// least of several counts is what f itself needs.
func Least(tries int, f func()) float64 {
	least := testing.AllocsPerRun(1, f)
	for i := 1; i < tries && least > 0; i++ {
		least = min(least, testing.AllocsPerRun(1, f))
	}
	return least
}
