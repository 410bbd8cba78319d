//go:build amd64 && !purego

package quant

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/cpu"
)

// withoutKernels runs f on the Go code alone.
func withoutKernels(f func()) {
	defer cpu.Limit(0)()
	f()
}

// odd is any float32 now and then, NaNs only where asked for.
func odd(r *rand.Rand, nan bool) float32 {
	for r.IntN(8) == 0 {
		if v := math.Float32frombits(r.Uint32()); v == v && !math.IsInf(float64(v), 0) || nan {
			return v
		}
	}
	return float32(math.Ldexp(r.NormFloat64(), r.IntN(30)-20))
}

// TestKernelsHaveTheBitsOfGo compares bytes and bits at any length and alignment, between guards
// that must not be touched.
func TestKernelsHaveTheBitsOfGo(t *testing.T) {
	if !cpu.Has(needs) {
		t.Skip("this processor has no AVX2 and FMA")
	}
	r := rand.New(rand.NewPCG(rand.Uint64(), 1))
	const margin, guard = 64, 0xa5
	for f := range Format(formats) {
		for range 300 {
			n, off := r.IntN(400), r.IntN(32)
			if r.IntN(4) == 0 {
				n = r.IntN(1400) // several chunks
			}
			row, nan := make([]float32, n), r.IntN(4) == 0
			for i := range row {
				row[i] = odd(r, nan)
			}
			if r.IntN(4) == 0 { // as small as there are
				for i := range row {
					row[i] = math.Float32frombits(r.Uint32()&0x80000fff | r.Uint32()&1)
				}
			}
			all := slices.Repeat([]byte{guard}, f.Bytes(n)+2*margin)
			got, want := all[off:][:f.Bytes(n)], make([]byte, f.Bytes(n))
			f.Encode(got, row)
			withoutKernels(func() { f.Encode(want, row) })
			require.Equal(t, want, got, "%v of %v", f, row)
			require.Equal(t, slices.Repeat([]byte{guard}, off), all[:off])
			require.Equal(t, slices.Repeat([]byte{guard}, 2*margin-off), all[off+len(got):])

			for i := range got { // whatever a peer sends
				if r.IntN(8) == 0 {
					got[i] = byte(r.Uint32())
				}
			}
			floats := slices.Repeat([]float32{12345}, n+64)
			back, slow := floats[off:][:n], make([]float32, n)
			undo := cpu.Limit([]cpu.Features{needs, ^cpu.Features(0)}[r.IntN(2)])
			f.Decode(back, got)
			undo()
			withoutKernels(func() { f.Decode(slow, got) })
			for i := range slow {
				if math.Float32bits(slow[i]) != math.Float32bits(back[i]) && (slow[i] == slow[i] || back[i] == back[i]) {
					require.Failf(t, "bits differ", "%v: element %d is %v, want %v", f, i, back[i], slow[i])
				}
			}
			require.Equal(t, slices.Repeat([]float32{12345}, off), floats[:off])
			require.Equal(t, slices.Repeat([]float32{12345}, 64-off), floats[off+n:])
		}
	}
}

func TestWithoutKernels(t *testing.T) {
	withoutKernels(func() {
		TestFormatsKeepRows(t)
		TestWhatIsNoNumberSurvives(t)
		TestMXFP4IsExact(t)
		TestBlocksOfFourBits(t)
		TestRotationIsHadamards(t)
		TestRowScaleLeavesOutBadBlocks(t)
	})
}

// TestEveryNumberOf16Bits goes through all there are.
func TestEveryNumberOf16Bits(t *testing.T) {
	for _, f := range []Format{BF16, FP16} {
		src := make([]byte, 2<<16)
		for i := range 1 << 16 {
			src[2*i], src[2*i+1] = byte(i), byte(i>>8)
		}
		got, want := make([]float32, 1<<16), make([]float32, 1<<16)
		f.Decode(got, src)
		withoutKernels(func() { f.Decode(want, src) })
		for i := range want {
			require.Equal(t, math.Float32bits(want[i]), math.Float32bits(got[i]), "%v of %#x", f, i)
		}
	}
}

func benchmarkFormats(b *testing.B, do func(f Format, dst []byte, row []float32)) {
	row := make([]float32, 4096)
	for f := range Format(formats) {
		for _, kernels := range []bool{true, false} {
			name := f.String()
			if !kernels {
				name += "/go"
			}
			b.Run(name, func(b *testing.B) {
				for i := range row {
					row[i] = float32(i%97) - 48
				}
				dst := encoded(f, row)
				b.SetBytes(4 * 4096)
				run := func() {
					for range b.N {
						do(f, dst, row)
					}
				}
				if kernels {
					run()
				} else {
					withoutKernels(run)
				}
			})
		}
	}
}

func BenchmarkEncode(b *testing.B) { benchmarkFormats(b, Format.Encode) }

func BenchmarkDecode(b *testing.B) {
	benchmarkFormats(b, func(f Format, src []byte, row []float32) { f.Decode(row, src) })
}
