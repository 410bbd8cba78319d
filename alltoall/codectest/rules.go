package codectest

import (
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"
)

// name: ranks compare it, so it is there, on one line and always the same.
func (s suite) name() {
	name := s.codec.String()
	require.NotEmpty(s, name, "String")
	require.False(s, strings.ContainsAny(name, "\n\r"), "String is %q, want one line", name)
	require.Equal(s, name, s.codec.String(), "String, called again")
}

// lengths: Bytes depends on the number of columns alone, is not 0 if that is not, and is what
// Append writes.
func (s suite) lengths() {
	for _, n := range s.widths() {
		bytes := s.codec.Bytes(n)
		require.GreaterOrEqual(s, bytes, min(n, 1), "bytes of %d numbers", n)
		for range 3 {
			require.Len(s, s.encode(s.row(n)), bytes, "bytes of %d numbers", n)
			require.Equal(s, bytes, s.codec.Bytes(n), "bytes of %d numbers, asked again", n)
		}
		require.Len(s, s.encode(make([]float32, n)), bytes, "bytes of %d zeros", n)
	}
}

// roundTrip: numbers come back within the error that is declared, all bits if that is 0.
func (s suite) roundTrip() {
	for _, n := range s.widths() {
		for _, row := range [][]float32{s.row(n), s.row(n), make([]float32, n)} {
			got := s.decode(s.encode(row), n)
			if s.loss.Most == 0 {
				require.Equal(s, bitsOf(row), bitsOf(got), "bits of %d numbers that came back", n)
				continue
			}
			largest := 0.0
			for _, v := range row {
				largest = max(largest, math.Abs(float64(v)))
			}
			for i, v := range row {
				off := math.Abs(float64(got[i]) - float64(v))
				require.LessOrEqual(s, off, s.loss.Most*largest, "column %d of %d: %v came back as %v; the largest is %v", i, n, v, got[i], largest)
			}
		}
	}
}

// drift: a row that has come back is written in the same bytes, unless declared otherwise.
func (s suite) drift() {
	if s.loss.Drifts {
		return
	}
	for _, n := range s.widths() {
		first := s.encode(s.row(n))
		require.Equal(s, first, s.encode(s.decode(first, n)), "%d numbers that came back, written again", n)
	}
}

// deterministic: the same row is written alike, whatever stood in memory before.
func (s suite) deterministic() {
	for _, n := range s.widths() {
		row := s.row(n)
		first := s.encode(row)
		require.Equal(s, first, s.encode(row), "%d numbers, written twice", n)
		require.Equal(s, bitsOf(s.decode(first, n)), bitsOf(s.decode(first, n)), "%d numbers, read twice", n)
	}
}

// independent: nor does it matter which rows came before.
func (s suite) independent() {
	for _, n := range s.widths() {
		row := s.row(n)
		alone := s.encode(row)
		read := s.decode(alone, n)
		for _, scale := range []float32{1. / 512, 512} {
			other := s.row(n + 5)
			for i := range other {
				other[i] *= scale
			}
			s.decode(s.encode(other), len(other))
			require.Equal(s, alone, s.encode(row), "%d numbers, written after another row", n)
			require.Equal(s, bitsOf(read), bitsOf(s.decode(alone, n)), "%d numbers, read after another row", n)
		}
	}
}

// unchanged: Append leaves its row as it is, and Decode its bytes.
func (s suite) unchanged() {
	for _, n := range s.widths() {
		row := s.row(n)
		was := slices.Clone(row)
		src := s.encode(row)
		require.Equal(s, bitsOf(was), bitsOf(row), "the row that Append got")
		written := slices.Clone(src)
		s.decode(src, n)
		require.Equal(s, written, src, "the bytes that Decode got")
	}
}

// concurrent: several goroutines have what one has.
func (s suite) concurrent() {
	const goroutines, n = 4, 200
	var rows, got, want [goroutines][]float32
	var failed [goroutines]error
	var ranks sync.WaitGroup
	for g := range goroutines {
		rows[g], got[g] = s.row(n), make([]float32, n)
		want[g] = s.decode(s.encode(rows[g]), n)
	}
	for g := range goroutines {
		ranks.Go(func() {
			for range 50 {
				src := s.codec.Append(make([]byte, 0, s.codec.Bytes(n)), rows[g])
				if failed[g] = s.codec.Decode(got[g], src); failed[g] != nil || !slices.Equal(bitsOf(got[g]), bitsOf(want[g])) {
					return
				}
			}
		})
	}
	ranks.Wait()
	for g := range goroutines {
		require.NoError(s, failed[g], "Decode beside other goroutines")
		require.Equal(s, bitsOf(want[g]), bitsOf(got[g]), "a row beside those of other goroutines")
	}
}

// notFinite: a row with a NaN or an infinity does not come back as one without.
func (s suite) notFinite() {
	for _, n := range s.widths()[1:] {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			row, at := s.row(max(n, 1)), s.rand.IntN(max(n, 1))
			row[at] = float32(bad)
			got := s.decode(s.encode(row), len(row))
			require.True(s, slices.ContainsFunc(got, func(v float32) bool { return v-v != 0 }),
				"%v in column %d of %d: all numbers that came back are finite", bad, at, len(row))
		}
	}
}

// anyBytes: Decode of what no codec wrote fails, or sets the whole row, and does not panic.
func (s suite) anyBytes() {
	for _, n := range s.widths() {
		src := make([]byte, s.codec.Bytes(n))
		for range 20 {
			for i := range src {
				src[i] = byte(s.rand.Uint32())
			}
			checkAnyBytes(s, s.codec, n, src)
		}
		for range 20 { // one bit of a row is wrong
			if src = s.encode(s.row(n)); len(src) > 0 {
				src[s.rand.IntN(len(src))] ^= 1 << s.rand.IntN(8)
			}
			checkAnyBytes(s, s.codec, n, src)
		}
		for _, all := range []byte{0, 0x7f, 0x80, 0xff} {
			for i := range src {
				src[i] = all
			}
			checkAnyBytes(s, s.codec, n, src)
		}
	}
}

func bitsOf(row []float32) []uint32 {
	bits := make([]uint32, len(row))
	for i, v := range row {
		bits[i] = math.Float32bits(v)
	}
	return bits
}
