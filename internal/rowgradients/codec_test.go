package rowgradients

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// codecs are formats with blocks of several sizes, and one with a name of its own.
func codecs() []alltoall.Codec {
	list := []alltoall.Codec{alltoall.Stochastic{Format: alltoall.NVFP4H, Seed: 3}}
	for _, name := range alltoall.FormatNames() {
		f, err := alltoall.ParseFormat(name)
		if err != nil {
			panic(err)
		}
		list = append(list, f)
	}
	return list
}

// written is a row as a codec writes and reads it.
func written(t *testing.T, c alltoall.Codec, row []float32) []float32 {
	t.Helper()
	before := slices.Clone(row)
	dst := c.Append([]byte{7}, row)
	require.Equal(t, before, row, "the row is left alone")
	require.Len(t, dst, 1+c.Bytes(len(row)), "%v", c)
	require.Equal(t, byte(7), dst[0])
	got := make([]float32, len(row))
	require.NoError(t, c.Decode(got, dst[1:]))
	return got
}

// TestGradientsTravelAsTheirCodecWritesThem, whatever the number of the cluster, which is exact.
func TestGradientsTravelAsTheirCodecWritesThem(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range codecs() {
		for _, dim := range []int{1, 2, 63, 64, 130} {
			row := make([]float32, dim+1)
			for j := range dim {
				row[j] = float32(r.NormFloat64())
			}
			want := written(t, c, row[:dim])
			for _, number := range []float32{0, 1, 255, 256, 1 << 16, most - 1, float32(r.IntN(most))} {
				row[dim] = number
				require.Equal(t, append(slices.Clone(want), number), written(t, numbered{c}, row), "%v, %d columns", c, dim)
				require.Equal(t, append(slices.Clone(want), 0), written(t, bare{c}, row), "%v, %d columns", c, dim)
			}
			require.Equal(t, c.Bytes(dim)+3, numbered{c}.Bytes(dim+1))
			require.Equal(t, c.Bytes(dim), bare{c}.Bytes(dim+1))
		}
	}
}

// TestNamesOfCodecs differ where rows do, as ranks compare them.
func TestNamesOfCodecs(t *testing.T) {
	require.Equal(t, "nvfp4-h", bare{alltoall.NVFP4H}.String())
	require.Contains(t, numbered{alltoall.NVFP4H}.String(), "nvfp4-h")
	require.NotEqual(t, bare{alltoall.NVFP4H}.String(), numbered{alltoall.NVFP4H}.String())
}

// FuzzNumbered reads rows of any bytes: none panics, and every number is one of a cluster.
func FuzzNumbered(f *testing.F) {
	f.Add([]byte{}, uint8(3))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint8(64))
	f.Add(numbered{alltoall.NVFP4H}.Append(nil, []float32{1, -2, 3, 70_000}), uint8(3))
	list := codecs()
	f.Fuzz(func(t *testing.T, data []byte, dim uint8) {
		for _, c := range list {
			n := int(dim) + 2
			row := make([]float32, n)
			src := make([]byte, numbered{c}.Bytes(n))
			copy(src, data)
			require.NoError(t, numbered{c}.Decode(row, src))
			number := row[n-1]
			require.True(t, number >= 0 && number < most && number == float32(math.Trunc(float64(number))), "%v", number)
			require.NoError(t, bare{c}.Decode(row, src[:bare{c}.Bytes(n)]))
			require.Zero(t, row[n-1])
		}
	})
}
