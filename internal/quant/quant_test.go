package quant

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// nearest is the slow reference: of all numbers that there are, the one next to v; of two the one
// whose code is even.
func nearest(v float32, codes int, value func(int) float32) int {
	best, off := -1, math.Inf(1)
	for c := range codes {
		x := value(c)
		if x != x || math.Signbit(float64(x)) != math.Signbit(float64(v)) || math.IsInf(float64(x), 0) {
			continue
		}
		d := math.Abs(float64(x) - float64(v))
		if d < off || d == off && c%2 == 0 {
			best, off = c, d
		}
	}
	return best
}

func TestRoundsToNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		v := float32(math.Ldexp(r.Float64()*2-1, r.IntN(34)-20))
		if abs(v) < 65504 {
			require.EqualValues(t, nearest(v, 1<<16, func(c int) float32 { return fromFP16(uint16(c)) }), fp16(v), "%v in fp16", v)
		}
		if abs(v) <= largestE4M3 {
			require.EqualValues(t, nearest(v, 256, func(c int) float32 { return e4m3Values[c] }), e4m3(v), "%v in e4m3", v)
		}
	}
	for c := range 1 << 16 { // every number is written as itself
		v := fromFP16(uint16(c))
		if v == v {
			require.EqualValues(t, c, fp16(v))
		}
	}
	for c := range 256 {
		if v := e4m3Values[c]; v == v {
			require.EqualValues(t, c, e4m3(v))
		}
	}
	require.EqualValues(t, 0x3f80, bf16(1))
	require.EqualValues(t, 0x3f80, bf16(1+1./256), "a tie goes to even")
	require.EqualValues(t, 0x3f82, bf16(1+3./256))
	require.EqualValues(t, 0x7c00, fp16(65520))
	require.EqualValues(t, 0x7bff, fp16(65519))
	require.EqualValues(t, 448, e4m3Values[0x7e])
}

func TestFormatsKeepRows(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	row := make([]float32, 300)
	for i := range row {
		row[i] = float32(r.NormFloat64())
	}
	back := make([]float32, len(row))
	for f, bound := range map[Format]float64{Float32: 0, BF16: 1. / 256, FP16: 1. / 2048, FP8: 1. / 16, Int8: 1, FP8Expanded: 0.15} {
		b := make([]byte, f.Bytes(len(row)))
		f.Encode(b, row)
		f.Decode(back, b)
		for i, v := range row {
			most := bound * math.Abs(float64(v))
			switch f {
			case FP8, FP8Expanded:
				most += 4. / 448 / 512 // the least step of a block whose largest is about 4
			case Int8:
				most = 4.5 / 127 / 2
			case FP16:
				most += 1. / (1 << 25)
			}
			require.InDelta(t, v, back[i], most, "%v", f)
		}
		again := make([]byte, len(b))
		f.Encode(again, back)
		if f != FP8 && f != Int8 && f != FP8Expanded { // whose scales are rounded
			require.Equal(t, b, again, "%v: what has been rounded stays", f)
		}
	}
	require.Equal(t, 300+3*4, FP8.Bytes(300))
}

// TestWhatIsNoNumberSurvives, and takes along at most its block.
func TestWhatIsNoNumberSurvives(t *testing.T) {
	nan := float32(math.NaN())
	for f := range Format(formats) {
		for _, bad := range []float32{nan, inf, -inf} {
			row := make([]float32, 2*Block)
			row[3], row[Block+1] = bad, 2
			b := make([]byte, f.Bytes(len(row)))
			f.Encode(b, row)
			back := make([]float32, len(row))
			f.Decode(back, b)
			require.False(t, abs(back[3]) < inf, "%v of %v", f, bad)
			require.EqualValues(t, 2, back[Block+1])
		}
	}
	tiny := []float32{math.SmallestNonzeroFloat32, 0}
	for _, f := range []Format{FP8, Int8, FP8Expanded} {
		b := make([]byte, f.Bytes(2))
		f.Encode(b, tiny)
		back := make([]float32, 2)
		f.Decode(back, b)
		require.False(t, back[0] != back[0] || back[1] != 0)
	}
}

func TestNames(t *testing.T) {
	for f := range Format(formats) {
		got, err := Parse(f.String())
		require.NoError(t, err)
		require.Equal(t, f, got)
	}
	_, err := Parse("fp7")
	require.ErrorContains(t, err, "fp7")
	require.False(t, Format(-1).Known())
	require.Equal(t, "Format(99)", Format(99).String())
}

// FuzzDecode reads whatever bytes there are.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8}, uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, n uint8) {
		for format := range Format(formats) {
			src := make([]byte, format.Bytes(int(n)))
			copy(src, data)
			row := make([]float32, n)
			format.Decode(row, src)
			format.Encode(src, row)
		}
	})
}

func BenchmarkBF16(b *testing.B) {
	row, dst := make([]float32, 4096), make([]byte, 2*4096)
	b.SetBytes(4 * 4096)
	for range b.N {
		BF16.Encode(dst, row)
		BF16.Decode(row, dst)
	}
}

// TestExpansionIsCOATs holds codes against the formula, centre and all, and its errors against
// those of E4M3 alone where a block's range is small.
func TestExpansionIsCOATs(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, span := range []float64{0.01, 1, 3, 10, 20, 60} { // powers of two
		block := make([]float32, Block)
		for i := range block {
			block[i] = float32(math.Exp2(r.Float64()*span)) * float32(1-2*r.IntN(2))
		}
		largest, least := 0.0, math.Inf(1)
		for _, v := range block {
			largest, least = max(largest, math.Abs(float64(v))), min(least, math.Abs(float64(v)))
		}
		k := min(math.Floor(16*math.Log2(448*448/2)/math.Log2(largest/least))/16, 16)
		centre := math.Sqrt(largest * least)
		scale := math.Pow(largest/centre, k) / 448
		b := make([]byte, FP8Expanded.Bytes(Block))
		FP8Expanded.Encode(b, block)
		back, plain := make([]float32, Block), make([]float32, Block)
		FP8Expanded.Decode(back, b)
		FP8.Encode(b, block)
		FP8.Decode(plain, b)
		off, offPlain := 0.0, 0.0
		for i, v := range block {
			q := float64(e4m3Values[e4m3(float32(math.Pow(math.Abs(float64(v))/centre, k)/scale))])
			want := math.Copysign(math.Pow(q*scale, 1/k)*centre, float64(v))
			// A number half way between two codes may take either.
			require.InEpsilon(t, want, back[i], 0.13/k, "span %v", span)
			off += math.Abs(float64(back[i]/v - 1))
			offPlain += math.Abs(float64(plain[i]/v - 1))
		}
		if k > 1.5 {
			require.Less(t, off, 0.9*offPlain, "span %v, k %v", span, k)
		}
	}
}
