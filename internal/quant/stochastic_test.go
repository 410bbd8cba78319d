package quant

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStochasticRoundingIsRightOnAverage: over seeds, and every number is one of its neighbours.
func TestStochasticRoundingIsRightOnAverage(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	row := make([]float32, 100)
	for i := range row {
		row[i] = float32(r.NormFloat64())
	}
	const seeds = 400
	for f := MXFP4; f <= Int4H; f++ {
		sum, squares := make([]float64, len(row)), make([]float64, len(row))
		for seed := range uint64(seeds) {
			b := make([]byte, f.Bytes(len(row)))
			f.EncodeStochastic(b, row, seed)
			for i, v := range decoded(f, b, len(row)) {
				sum[i] += float64(v - row[i])
				squares[i] += float64((v - row[i]) * (v - row[i]))
			}
		}
		for i := range row {
			deviation := math.Sqrt(squares[i]/seeds) / math.Sqrt(seeds)
			require.LessOrEqual(t, math.Abs(sum[i]/seeds), 5*deviation+1e-6, "%v, column %d", f, i)
		}
	}
}

// TestStochasticRoundingDependsOnSeedAndRow, and on nothing else.
func TestStochasticRoundingDependsOnSeedAndRow(t *testing.T) {
	row := make([]float32, 160)
	for i := range row {
		row[i] = float32(math.Sin(float64(i)))
	}
	other := append([]float32(nil), row...)
	other[159] += 1e-3
	write := func(row []float32, seed uint64) []byte {
		b := make([]byte, MXFP4.Bytes(160))
		MXFP4.EncodeStochastic(b, row, seed)
		return b
	}
	require.Equal(t, write(row, 1), write(row, 1))
	require.NotEqual(t, write(row, 1), write(row, 2))
	require.NotEqual(t, write(row, 1)[:68], write(other, 1)[:68], "equal columns of another row")
}

// TestStochasticRoundingKeepsWhatIsExact, zeros and small numbers among it.
func TestStochasticRoundingKeepsWhatIsExact(t *testing.T) {
	for f, row := range map[Format][]float32{
		MXFP4: {6, -0.5, 1.5, 0}, NVFP4: {2688, -1792, 224, 0}, Int4: {7, -3, 0, 1},
	} {
		for seed := range uint64(20) {
			b := make([]byte, f.Bytes(4))
			f.EncodeStochastic(b, row, seed)
			require.Equal(t, row, decoded(f, b, 4), "%v", f)
		}
	}
	for f := MXFP4; f <= Int4H; f++ {
		b := make([]byte, f.Bytes(64))
		f.EncodeStochastic(b, make([]float32, 64), 1)
		require.Equal(t, make([]float32, 64), decoded(f, b, 64), "%v", f)
		tiny := make([]float32, 64)
		tiny[0] = math.SmallestNonzeroFloat32
		f.EncodeStochastic(b, tiny, 1)
		for _, v := range decoded(f, b, 64) {
			require.Less(t, abs(v), float32(1e-37), "%v", f)
		}
		tiny[0] = inf
		f.EncodeStochastic(b, tiny, 1)
		require.False(t, abs(decoded(f, b, 64)[0]) < inf, "%v", f)
	}
}
