//go:build amd64 && !purego

package f32

// eight is a constant in every lane of a vector register.
type eight[T any] [8]T

// table is the constants of the assembly kernels, which thereby are those of the Go loops. Its
// order is that of table_amd64.h. It is written out in full so that the linker, not an init
// function, fills it.
var table = struct {
	f [28]eight[float32]
	u [4]eight[uint32]
}{
	f: [28]eight[float32]{
		{log2e, log2e, log2e, log2e, log2e, log2e, log2e, log2e},
		{roundMagic, roundMagic, roundMagic, roundMagic, roundMagic, roundMagic, roundMagic, roundMagic},
		{ln2Hi, ln2Hi, ln2Hi, ln2Hi, ln2Hi, ln2Hi, ln2Hi, ln2Hi},
		{ln2Lo, ln2Lo, ln2Lo, ln2Lo, ln2Lo, ln2Lo, ln2Lo, ln2Lo},
		{expQ0, expQ0, expQ0, expQ0, expQ0, expQ0, expQ0, expQ0},
		{expQ1, expQ1, expQ1, expQ1, expQ1, expQ1, expQ1, expQ1},
		{expQ2, expQ2, expQ2, expQ2, expQ2, expQ2, expQ2, expQ2},
		{expQ3, expQ3, expQ3, expQ3, expQ3, expQ3, expQ3, expQ3},
		{expQ4, expQ4, expQ4, expQ4, expQ4, expQ4, expQ4, expQ4},
		{expMax, expMax, expMax, expMax, expMax, expMax, expMax, expMax},
		{expMin, expMin, expMin, expMin, expMin, expMin, expMin, expMin},
		{1, 1, 1, 1, 1, 1, 1, 1},
		{-0.5, -0.5, -0.5, -0.5, -0.5, -0.5, -0.5, -0.5},
		{-siluLimit, -siluLimit, -siluLimit, -siluLimit, -siluLimit, -siluLimit, -siluLimit, -siluLimit},
		{siluLimit, siluLimit, siluLimit, siluLimit, siluLimit, siluLimit, siluLimit, siluLimit},
		{-geluLimit, -geluLimit, -geluLimit, -geluLimit, -geluLimit, -geluLimit, -geluLimit, -geluLimit},
		{geluLimit, geluLimit, geluLimit, geluLimit, geluLimit, geluLimit, geluLimit, geluLimit},
		{tailScale, tailScale, tailScale, tailScale, tailScale, tailScale, tailScale, tailScale},
		{tail0, tail0, tail0, tail0, tail0, tail0, tail0, tail0},
		{tail1, tail1, tail1, tail1, tail1, tail1, tail1, tail1},
		{tail2, tail2, tail2, tail2, tail2, tail2, tail2, tail2},
		{tail3, tail3, tail3, tail3, tail3, tail3, tail3, tail3},
		{tail4, tail4, tail4, tail4, tail4, tail4, tail4, tail4},
		{tail5, tail5, tail5, tail5, tail5, tail5, tail5, tail5},
		{tail6, tail6, tail6, tail6, tail6, tail6, tail6, tail6},
		{tail7, tail7, tail7, tail7, tail7, tail7, tail7, tail7},
		{tail8, tail8, tail8, tail8, tail8, tail8, tail8, tail8},
		{invSqrt2Pi, invSqrt2Pi, invSqrt2Pi, invSqrt2Pi, invSqrt2Pi, invSqrt2Pi, invSqrt2Pi, invSqrt2Pi},
	},
	u: [4]eight[uint32]{
		{roundMagicBits, roundMagicBits, roundMagicBits, roundMagicBits, roundMagicBits, roundMagicBits, roundMagicBits, roundMagicBits},
		{127, 127, 127, 127, 127, 127, 127, 127},
		{0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff},
		{0x80000000, 0x80000000, 0x80000000, 0x80000000, 0x80000000, 0x80000000, 0x80000000, 0x80000000},
	},
}
