package moments

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/cpu"
)

var formats = []Format{FP8, Int4, Log4}

// vector draws numbers whose magnitudes span a number of powers of e, a few of them 0. Those of
// Log4 are positive.
func vector(r *rand.Rand, f Format, n int, span float64) []float32 {
	x := make([]float32, n)
	scale := math.Exp(-r.Float64() * 20)
	for i := range x {
		x[i] = float32(scale * math.Exp(-r.Float64()*span))
		if r.IntN(20) == 0 {
			x[i] = 0
		}
		if f != Log4 && r.IntN(2) == 0 {
			x[i] = -x[i]
		}
	}
	return x
}

// coded returns what comes back of x.
func coded(f Format, x []float32) []float32 {
	data, back := make([]byte, f.Bytes(len(x))), make([]float32, len(x))
	f.Encode(data, x)
	f.Decode(back, data)
	return back
}

// slow is f by its definition in float64, the nearest of all values that a block has, and how near
// to those f is.
func slow(f Format, block []float32) (back []float64, near float64) {
	near = 1e-6
	largest, least := 0.0, math.Inf(1)
	for _, v := range block {
		if a := math.Abs(float64(v)); a > 0 {
			largest, least = max(largest, a), min(least, a)
		}
	}
	values, warp := []float64{0}, func(v float64) float64 { return v }
	switch f {
	case FP8:
		k := 16.0
		if largest > least {
			k = math.Floor(min(16*math.Log(448*448/2)/math.Log(largest/least), 256)) / 16
		}
		k = max(k, 3.0/16)
		near = 5e-4 / k
		warp = func(v float64) float64 { return math.Pow(v/largest, k) * 448 }
		for e := -6; e <= 8; e++ {
			for m := range 8 {
				if e == -6 && m > 0 {
					values = append(values, math.Ldexp(float64(m)/8, -6))
				}
				if e < 8 || m < 7 {
					values = append(values, math.Ldexp(1+float64(m)/8, e))
				}
			}
		}
		for i, v := range values {
			values[i] = largest * math.Pow(v/448, 1/k)
		}
	case Int4:
		warp = func(v float64) float64 { return math.Sqrt(v / largest) }
		for c := 1; c <= 7; c++ {
			values = append(values, largest*float64(c*c)/49)
		}
	case Log4:
		near = 3e-5
		n := min(max(math.Round(math.Log2(largest/least)*64/14), 1), 256)
		warp = func(v float64) float64 { return math.Log(max(v, 1e-300)) }
		for c := 1; c <= 15; c++ {
			values = append(values, largest*math.Exp2(float64(c-15)*n/64))
		}
	}
	for _, v := range block {
		best := values[0]
		for _, of := range values {
			if v != 0 && math.Abs(warp(of)-warp(math.Abs(float64(v)))) < math.Abs(warp(best)-warp(math.Abs(float64(v)))) {
				best = of
			}
		}
		back = append(back, math.Copysign(best, float64(v)))
	}
	return back, near
}

// TestNearest: numbers become the value that their format has nearest to them. One in hundreds is
// within the rounding of a power from half way.
func TestNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, f := range formats {
		other, all := 0, 0
		for n := range 150 {
			x := vector(r, f, 1+r.IntN(Block), []float64{0, 0.1, 1, 5, 12, 40}[n%6])
			want, near := slow(f, x)
			for i, v := range coded(f, x) {
				all++
				if math.Abs(float64(v)-want[i]) > near*math.Abs(want[i]) {
					other++
				}
			}
		}
		require.Less(t, other, all/500, "%v: of %d numbers", f, all)
	}
}

// TestEveryNumber: the largest comes back as it is, zeros stay, none that is not 0 becomes 0 where
// it would be a root to divide by, and signs stay.
func TestEveryNumber(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, f := range formats {
		for n := range 200 {
			x := vector(r, f, 1+r.IntN(3*Block), []float64{0, 1, 10, 30, 70}[n%5])
			back := coded(f, x)
			for at := 0; at < len(x); at += Block {
				block := x[at:min(at+Block, len(x))]
				largest := 0
				for i, v := range block {
					if math.Abs(float64(v)) > math.Abs(float64(block[largest])) {
						largest = i
					}
					got := back[at+i]
					if v == 0 || f != Int4 {
						require.Equal(t, v == 0, got == 0, "%v of %v is %v", f, v, got)
					}
					require.GreaterOrEqual(t, float64(v)*float64(got), 0.0)
				}
				require.Equal(t, block[largest], back[at+largest], "%v: the largest", f)
			}
		}
	}
}

func TestNotFinite(t *testing.T) {
	for _, f := range formats {
		for _, v := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
			x := vector(rand.New(rand.NewPCG(5, 6)), f, 2*Block, 3)
			x[Block+1] = v
			back := coded(f, x)
			for i, got := range back {
				require.Equal(t, i >= Block, got != got, "%v: element %d is %v", f, i, got)
			}
		}
	}
}

// TestExtremes: the largest and the least float32 numbers, alone and together.
func TestExtremes(t *testing.T) {
	for _, f := range formats {
		for _, x := range [][]float32{
			{math.MaxFloat32}, {math.SmallestNonzeroFloat32}, {math.MaxFloat32, math.SmallestNonzeroFloat32},
			{1, 1e-40, 0}, {1e-40, 3e-45}, make([]float32, Block),
		} {
			back := coded(f, x)
			for i, v := range back {
				require.False(t, v != v || v > math.MaxFloat32, "%v of %v: %v", f, x, back)
				if f != Int4 && x[i] > 2e-45 {
					require.NotZero(t, v, "%v of %v", f, x)
				}
			}
		}
	}
}

// TestSameBitsWithoutKernels: other processors write and read the same.
func TestSameBitsWithoutKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, f := range formats {
		for range 50 {
			x := vector(r, f, r.IntN(2*Block), 15)
			fast := make([]byte, f.Bytes(len(x)))
			f.Encode(fast, x)
			back := coded(f, x)
			undo := cpu.Limit(0)
			plain := make([]byte, f.Bytes(len(x)))
			f.Encode(plain, x)
			require.Equal(t, plain, fast)
			if f != Int4 && len(x) > 0 {
				x = x[:min(len(x), Block)]
				for i, v := range x {
					x[i] = max(v, -v)
				}
				f.EncodeStochastic(plain, x, 3)
				undo()
				f.EncodeStochastic(fast, x, 3)
				require.Equal(t, plain, fast)
				continue
			}
			require.Equal(t, coded(f, x), back)
			undo()
		}
	}
}

// TestBytes of a parameter.
func TestBytes(t *testing.T) {
	const n = 1 << 20
	require.InDelta(t, 2.08, 2*float64(FP8.Bytes(n))/n, 0.01)
	require.InDelta(t, 1.07, float64(Int4.Bytes(n)+Log4.Bytes(n))/n, 0.01)
	for _, f := range formats {
		require.Zero(t, f.Bytes(0))
		require.Greater(t, f.Bytes(1), 4)
	}
}

// secondMoments are the formats that round stochastically.
var secondMoments = []Format{FP8, Log4}

// TestStochastic: numbers become one of the two neighbours that Decode has, right on average: in
// themselves with FP8, in their logarithms with Log4; and nothing is written beyond the block.
func TestStochastic(t *testing.T) {
	const draws = 1024
	r := rand.New(rand.NewPCG(9, 10))
	for _, f := range secondMoments {
		x := vector(r, Log4, 100, 6)
		n := f.Bytes(len(x))
		sum, low, high := make([]float64, len(x)), make([]float32, len(x)), make([]float32, len(x))
		data, back := make([]byte, n+3), make([]float32, len(x))
		for seed := range uint64(draws) {
			copy(data[n:], "abc")
			f.EncodeStochastic(data, x, seed*seed)
			require.Equal(t, "abc", string(data[n:]))
			f.Decode(back, data[:n])
			for i, v := range back {
				if seed == 0 {
					low[i], high[i] = v, v
				}
				low[i], high[i] = min(low[i], v), max(high[i], v)
				if f == Log4 {
					v = float32(math.Log2(max(float64(v), 1e-40)))
				}
				sum[i] += float64(v) / draws
			}
		}
		largest, least := float32(0), leastIn(x)
		for _, v := range x {
			largest = max(largest, v)
		}
		for i, v := range x {
			switch {
			case v == 0:
				require.Zero(t, high[i])
			case f == FP8:
				require.InEpsilon(t, v, sum[i], 0.01, "%v", f)
				require.Less(t, high[i], 1.4*low[i])
			case v > 1.5*least:
				ratio := math.Log2(float64(largest/least)) / 13
				require.InDelta(t, math.Log2(float64(v)), sum[i], 0.1*ratio, "%v", f)
				require.Less(t, math.Log2(float64(high[i]/low[i])), 1.2*ratio)
			}
		}
	}
}

// TestStochasticKeepsValues: what a format has is not rounded, so moments do not drift.
func TestStochasticKeepsValues(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for n := range 300 {
		x := coded(Log4, vector(r, Log4, 20+r.IntN(Block-20), 3+float64(n%30)))
		back, data := make([]float32, len(x)), make([]byte, Log4.Bytes(len(x)))
		Log4.EncodeStochastic(data, x, r.Uint64())
		Log4.Decode(back, data)
		for i, v := range x {
			require.Equal(t, v == 0, back[i] == 0)
			if v > 0 {
				require.InEpsilon(t, v, back[i], 1e-4)
			}
		}
	}
}

// TestStochasticExtremes are as with rounding to nearest.
func TestStochasticExtremes(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, f := range secondMoments {
		for _, x := range [][]float32{{math.MaxFloat32, 1, 1e-44, 0}, {1e-44, 0}, {0, 0, 0}, {1, nan}, {inf, 1}, {}} {
			data, back := make([]byte, f.Bytes(len(x))), make([]float32, len(x))
			f.EncodeStochastic(data, x, 5)
			f.Decode(back, data)
			for i, v := range back {
				require.Equal(t, len(x) == 2 && x[1]+x[0] > 1e30 || v != v, v != v, "%v of %v: %v", f, x, back)
				if v == v {
					require.Equal(t, x[i] == 0, v == 0, "%v of %v: %v", f, x, back)
					require.LessOrEqual(t, v, float32(math.MaxFloat32))
				}
			}
		}
	}
}

// FuzzDecode reads any bytes.
func FuzzDecode(f *testing.F) {
	f.Add(uint8(0), []byte{0, 0, 128, 63, 15, 0x7f, 0xff, 1})
	f.Add(uint8(2), []byte{0, 0, 128, 127, 255, 0x12})
	f.Fuzz(func(t *testing.T, format uint8, data []byte) {
		of, n := formats[int(format)%len(formats)], 0
		for of.Bytes(n+1) <= len(data) {
			n++
		}
		x := make([]float32, n)
		of.Decode(x, data)
	})
}

// TestSmallestNumbers: beside numbers that float32 has hardly room for, 0 stays 0, and what second
// moments have above 0 stays above 0.
func TestSmallestNumbers(t *testing.T) {
	const least = math.SmallestNonzeroFloat32
	for _, largest := range []float32{least, 2 * least, 1e-39, 1, 1e30} {
		for seed := range uint64(64) {
			block := []float32{least, 0, largest, least}
			for f := FP8; f <= Log4; f++ {
				read, codes := make([]float32, 4), make([]byte, f.Bytes(4))
				if f == Int4 {
					f.Encode(codes, block)
				} else {
					f.EncodeStochastic(codes, block, seed)
				}
				f.Decode(read, codes)
				require.Zero(t, read[1], "%v beside %v", f, largest)
				if f != Int4 {
					require.Positive(t, min(read[0], read[2], read[3]), "%v beside %v", f, largest)
				}
			}
		}
	}
}
