// Package cpu knows which instructions of the processor the assembly kernels may use. A package of
// kernels asks before each use, for exactly the instructions that a kernel has:
//
//	if cpu.Has(cpu.AVX2 | cpu.FMA) {
//
// In builds without assembly (other processors than amd64, the build tag purego) there are none.
package cpu

// Features is a set of instruction sets of amd64, under Intel's names.
type Features uint32

// The instruction sets that kernels ask for.
const (
	AVX2 Features = 1 << iota
	FMA
	PCLMULQDQ
	VPCLMULQDQ // in registers of 256 bits
	AVX512F
	AVX512DQ
	AVX512VL
	AVX512VPCLMULQDQ // in registers of 512 bits
)

// usable is what the processor has, less what Limit takes away.
var usable = detect()

// Has tells whether kernels may use all instruction sets of f.
func Has(f Features) bool { return usable&f == f }

// Limit takes from the kernels what is not in f, and returns a function that undoes this. It is for
// tests, which must not run kernels in other goroutines when they call it:
//
//	defer cpu.Limit(0)() // the Go code alone
func Limit(f Features) (undo func()) {
	before := usable
	usable &= f
	return func() { usable = before }
}
