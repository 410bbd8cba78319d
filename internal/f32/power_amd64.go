//go:build amd64 && !purego

package f32

// logTable is the constants of the logarithm, in the order of power_amd64.s.
var logTable = struct {
	f [12]eight[float32]
	u [2]eight[uint32]
}{
	f: [12]eight[float32]{
		{leastNormal, leastNormal, leastNormal, leastNormal, leastNormal, leastNormal, leastNormal, leastNormal},
		{1 << fraction, 1 << fraction, 1 << fraction, 1 << fraction, 1 << fraction, 1 << fraction, 1 << fraction, 1 << fraction},
		{fraction, fraction, fraction, fraction, fraction, fraction, fraction, fraction},
		{half, half, half, half, half, half, half, half},
		{logC0, logC0, logC0, logC0, logC0, logC0, logC0, logC0},
		{logC1, logC1, logC1, logC1, logC1, logC1, logC1, logC1},
		{logC2, logC2, logC2, logC2, logC2, logC2, logC2, logC2},
		{logC3, logC3, logC3, logC3, logC3, logC3, logC3, logC3},
		{logC4, logC4, logC4, logC4, logC4, logC4, logC4, logC4},
		{logC5, logC5, logC5, logC5, logC5, logC5, logC5, logC5},
		{logC6, logC6, logC6, logC6, logC6, logC6, logC6, logC6},
		{logC7, logC7, logC7, logC7, logC7, logC7, logC7, logC7},
	},
	u: [2]eight[uint32]{
		{sqrtHalfBits, sqrtHalfBits, sqrtHalfBits, sqrtHalfBits, sqrtHalfBits, sqrtHalfBits, sqrtHalfBits, sqrtHalfBits},
		{fractionBits, fractionBits, fractionBits, fractionBits, fractionBits, fractionBits, fractionBits, fractionBits},
	},
}

//go:noescape
func powerAVX2(p *PowerOf, dst, x []float32, table, log *eight[float32])

func power(p *PowerOf, dst, x []float32) {
	n := whole(len(dst))
	if n > 0 {
		powerAVX2(p, dst[:n], x[:n], &table.f[0], &logTable.f[0])
	}
	powerGeneric(p, dst[n:], x[n:])
}
