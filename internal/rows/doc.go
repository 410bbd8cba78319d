// Package rows reorders and adds rows of matrices at the speed of memory: it copies many rows past
// the caches, fetches the next row while it copies one, and adds rows in registers.
//
// Results of arithmetic are defined to the bit, as in package f32, and do not depend on the
// machine.
package rows

// farBytes is the number of bytes from which copied data would not stay in the caches until it is
// read. Go's own copy uses the same limit for one call. Tests lower it.
var farBytes = 1 << 20
