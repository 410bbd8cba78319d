//go:build amd64 && !purego

package f32

// powerTable is the constants of powers, in the order of power_amd64.s.
var powerTable = struct {
	f [12]eight[float32]
	u [2]eight[uint32]
}{
	f: [12]eight[float32]{
		{leastNormal, leastNormal, leastNormal, leastNormal, leastNormal, leastNormal, leastNormal, leastNormal},
		{leastExp2, leastExp2, leastExp2, leastExp2, leastExp2, leastExp2, leastExp2, leastExp2},
		{log2C0, log2C0, log2C0, log2C0, log2C0, log2C0, log2C0, log2C0},
		{log2C1, log2C1, log2C1, log2C1, log2C1, log2C1, log2C1, log2C1},
		{log2C2, log2C2, log2C2, log2C2, log2C2, log2C2, log2C2, log2C2},
		{log2C3, log2C3, log2C3, log2C3, log2C3, log2C3, log2C3, log2C3},
		{log2C4, log2C4, log2C4, log2C4, log2C4, log2C4, log2C4, log2C4},
		{log2C5, log2C5, log2C5, log2C5, log2C5, log2C5, log2C5, log2C5},
		{exp2D0, exp2D0, exp2D0, exp2D0, exp2D0, exp2D0, exp2D0, exp2D0},
		{exp2D1, exp2D1, exp2D1, exp2D1, exp2D1, exp2D1, exp2D1, exp2D1},
		{exp2D2, exp2D2, exp2D2, exp2D2, exp2D2, exp2D2, exp2D2, exp2D2},
		{exp2D3, exp2D3, exp2D3, exp2D3, exp2D3, exp2D3, exp2D3, exp2D3},
	},
	u: [2]eight[uint32]{
		{sqrtHalfBits, sqrtHalfBits, sqrtHalfBits, sqrtHalfBits, sqrtHalfBits, sqrtHalfBits, sqrtHalfBits, sqrtHalfBits},
		{fractionBits, fractionBits, fractionBits, fractionBits, fractionBits, fractionBits, fractionBits, fractionBits},
	},
}

//go:noescape
func powerAVX2(p *PowerOf, dst, x []float32, table, constants *eight[float32])

func power(p *PowerOf, dst, x []float32) {
	n := whole(len(dst))
	if n > 0 {
		powerAVX2(p, dst[:n], x[:n], &table.f[0], &powerTable.f[0])
	}
	powerGeneric(p, dst[n:], x[n:])
}
