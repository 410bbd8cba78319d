// Package f32 holds small float32 vector kernels and elementwise functions whose results are
// defined to the bit: each doc comment states which operations happen in which order, every product
// and sum is rounded apart (no fused multiply-add), and nothing depends on the machine, on the
// length of a slice or on its alignment. Where there is an assembly kernel it does the same
// operations as the Go loop beside it; the build tag purego leaves the loops alone. The payload of
// a NaN is the one thing left open.
//
// In every function the slices must have one length, else it panics, and dst may be one of the
// inputs; slices that overlap otherwise give undefined results.
package f32

import "fmt"

// sameLen panics unless all lengths are n.
func sameLen(n int, lens ...int) {
	for _, m := range lens {
		if m != n {
			panic(fmt.Sprintf("f32: lengths %d and %d differ", n, m))
		}
	}
}
