// Package rows moves rows of matrices from one order into another at the speed of memory: it copies
// them past the caches if there are too many to stay there, fetches the next row while it is at
// this one, and adds up rows without writing what is not yet the sum.
//
// Wherever numbers are computed, the result is defined to the bit, as in package f32, and does not
// depend on the machine.
package rows

// farBytes is the size from which what is copied would push itself out of the caches before it is
// read again. Go's own copy takes a call of as much for the sign of that. Tests lower it.
var farBytes = 1 << 20
