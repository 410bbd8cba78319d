package quant

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/hadamard"
)

func TestE2M1RoundsToNearest(t *testing.T) {
	for c, v := range e2m1Values {
		require.EqualValues(t, c, e2m1(v), "%v", v)
	}
	require.EqualValues(t, []byte{7, 15, 7, 15}, []byte{e2m1(1e30), e2m1(-1e30), e2m1(inf), e2m1(-inf)})
	r := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		v := float32(math.Ldexp(r.Float64()*2-1, r.IntN(8)-3))
		if r.IntN(2) == 0 {
			v = float32(r.IntN(49)-24) / 4 // ties among them
			v = math.Nextafter32(v, float32(r.IntN(3)-1)*100)
		}
		if abs(v) > 0 && abs(v) <= largestE2M1 {
			require.EqualValues(t, nearest(v, 16, func(c int) float32 { return e2m1Values[c] }), e2m1(v), "%v", v)
		}
	}
}

// exactMXFP4 is MXFP4 in float64: scale and numbers of a block.
func exactMXFP4(block []float32) (scale float64, values []float64) {
	largest := 0.0
	for _, v := range block {
		largest = max(largest, math.Abs(float64(v)))
	}
	e := -127
	if largest > 0 {
		fraction, exponent := math.Frexp(largest) // 0.5 to 1
		e = exponent - 1 - 2
		if fraction >= 1.75/2 {
			e++
		}
	}
	scale = math.Ldexp(1, max(e, -127))
	for _, v := range block {
		q := min(math.Abs(float64(v))/scale, 6)
		c := nearest(float32(q), 8, func(c int) float32 { return e2m1Values[c] })
		values = append(values, math.Copysign(float64(e2m1Values[c])*scale, float64(v)))
	}
	return scale, values
}

func encoded(f Format, row []float32) []byte {
	b := make([]byte, f.Bytes(len(row)))
	f.Encode(b, row)
	return b
}

func decoded(f Format, src []byte, n int) []float32 {
	row := make([]float32, n)
	f.Decode(row, src)
	return row
}

func TestMXFP4IsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 200 {
		row := make([]float32, 1+r.IntN(100))
		for i := range row {
			row[i] = float32(math.Ldexp(r.NormFloat64(), r.IntN(12)-6-r.IntN(2)*133))
		}
		got := decoded(MXFP4, encoded(MXFP4, row), len(row))
		for b := 0; b < len(row); b += mxBlock {
			_, want := exactMXFP4(row[b:min(b+mxBlock, len(row))])
			for i, w := range want {
				require.EqualValues(t, w, got[b+i], "column %d of %v", b+i, row)
			}
		}
	}
}

// TestBlocksOfFourBits: bytes of one block each, by hand.
func TestBlocksOfFourBits(t *testing.T) {
	require.Equal(t, []byte{127, 0x21, 0xfe}, encoded(MXFP4, []float32{0.5, 1, -4, -6}))
	require.Equal(t, []byte{0, 0, 0}, encoded(MXFP4, make([]float32, 3)), "zeros stay zeros")
	require.Equal(t, []byte{0, 0x81}, encoded(MXFP4, []float32{math.Float32frombits(1 << 21), float32(math.Copysign(0, -1))}), "half of 2⁻¹²⁷")
	require.Equal(t, []byte{0, 0, 0x80, 0x3f, 0x7e, 0x21, 0xe7}, encoded(NVFP4, []float32{224, 448, 2688, -1792}))
	require.Equal(t, []byte{0, 0, 0, 0x3f, 0xf1, 0x07}, encoded(Int4, []float32{0.5, -0.5, 3.5}))
	require.Equal(t, []float32{0.5, -0.5, 3.5}, decoded(Int4, []byte{0, 0, 0, 0x3f, 0xf1, 0x07}, 3))
	require.Equal(t, 17+4, MXFP4.Bytes(37))
	require.Equal(t, 4+9+9+4, NVFP4.Bytes(37))
	require.Equal(t, 36+4+2, Int4.Bytes(67))
	require.Equal(t, 33+6, MXFP8.Bytes(37))
}

// TestRotationIsHadamards: a rotated format is the plain one of rotated rows, rotated back.
func TestRotationIsHadamards(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, f := range []Format{MXFP4H, Int4H} {
		for _, n := range []int{1, 63, 64, 100, 512, 576, 1100} {
			row := make([]float32, n)
			for i := range row {
				row[i] = float32(r.NormFloat64())
			}
			turned := append([]float32(nil), row...)
			turn(turned)
			want := encoded(f.plain(), turned)
			require.Equal(t, want, encoded(f, row), "%v of %d", f, n)
			back := decoded(f.plain(), want, n)
			turn(back)
			require.Equal(t, back, decoded(f, want, n), "%v of %d", f, n)
		}
	}
}

// turn rotates whole blocks by the formula.
func turn(row []float32) {
	whole := row[:len(row)&^(hadamard.Block-1)]
	hadamard.Blocks(whole)
	for i := range whole {
		whole[i] /= 8
	}
}

// TestRotationSpreadsOutliers: with one, the other numbers keep more.
func TestRotationSpreadsOutliers(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for plain, rotated := range map[Format]Format{MXFP4: MXFP4H, Int4: Int4H} {
		off := map[Format]float64{}
		for range 50 {
			row := make([]float32, 64)
			for i := range row {
				row[i] = float32(r.NormFloat64())
			}
			row[r.IntN(64)] = 20
			for _, f := range []Format{plain, rotated} {
				for i, v := range decoded(f, encoded(f, row), 64) {
					off[f] += float64((v - row[i]) * (v - row[i]))
				}
			}
		}
		require.Less(t, off[rotated], 0.7*off[plain], "%v", plain)
	}
}

// TestRowScaleLeavesOutBadBlocks: of NVFP4, where a NaN takes its block alone.
func TestRowScaleLeavesOutBadBlocks(t *testing.T) {
	row := make([]float32, 40)
	row[3], row[20], row[39] = float32(math.NaN()), 2688, inf
	require.EqualValues(t, 1, rowScale(row))
	got := decoded(NVFP4, encoded(NVFP4, row), len(row))
	require.Equal(t, append(make([]float32, 4), append([]float32{2688}, make([]float32, 11)...)...), got[16:32])
	for _, v := range append(got[:16:16], got[32:]...) {
		require.True(t, v != v)
	}
}
