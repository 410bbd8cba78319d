package codectest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// Fuzz is the body of a fuzz target: Decode is given any bytes for rows of up to 300 numbers.
func Fuzz(f *testing.F, c alltoall.Codec) {
	for _, n := range []int{0, 1, 17, 128, 300} {
		row := make([]float32, n)
		for i := range row {
			row[i] = float32(math.Sin(float64(i)))
		}
		f.Add(uint16(n), c.Append(nil, row))
	}
	f.Fuzz(func(t *testing.T, columns uint16, src []byte) {
		n := int(columns) % 301
		fit := make([]byte, c.Bytes(n))
		copy(fit, src)
		checkAnyBytes(t, c, n, fit)
	})
}

// checkAnyBytes reads n numbers from any bytes, twice, over different ones.
func checkAnyBytes(t require.TestingT, c alltoall.Codec, n int, src []byte) {
	low, high := make([]float32, n), make([]float32, n)
	for i := range low {
		low[i], high[i] = -12345, 54321
	}
	var err, again error
	require.NotPanics(t, func() { err, again = c.Decode(low, src), c.Decode(high, src) }, "Decode of %d bytes for %d numbers", len(src), n)
	if err != nil {
		require.Error(t, again, "Decode of the same bytes, again")
		return
	}
	require.NoError(t, again, "Decode of the same bytes, again")
	require.Equal(t, bitsOf(low), bitsOf(high), "%d numbers read from the same bytes over different ones: Decode does not set all", n)
}
