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
		n := 1.0
		for n < 256 && largest*math.Exp2(-14*n/16) > least {
			n++
		}
		warp = func(v float64) float64 { return math.Log(max(v, 1e-300)) }
		for c := 1; c <= 15; c++ {
			values = append(values, largest*math.Exp2(float64(c-15)*n/16))
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
