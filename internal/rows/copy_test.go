package rows

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
)

// cut splits data at random into buffers, some of them empty.
func cut(r *rand.Rand, data []byte, most int) [][]byte {
	var bufs [][]byte
	for len(data) > 0 {
		n := min(r.IntN(most+1), len(data))
		bufs = append(bufs, data[:n:n])
		data = data[n:]
	}
	return append(bufs, nil)
}

// lowerFarBytes makes what a test can afford count as large.
func lowerFarBytes(t *testing.T) {
	was := farBytes
	farBytes = 32 << 10
	t.Cleanup(func() { farBytes = was })
}

func TestCopyAll(t *testing.T) {
	lowerFarBytes(t)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for _, size := range []int{0, 1, 1000, farBytes - 1, farBytes, farBytes + 12345} {
		for _, most := range []int{100, 5000, 1 << 16} {
			src, dst := make([]byte, size), make([]byte, size+64)
			for i := range src {
				src[i] = byte(r.Uint32())
			}
			n := CopyAll(append(cut(r, dst[:size:size], most), dst[size:]), cut(r, src, most))
			require.Equal(t, size, n)
			require.True(t, bytes.Equal(src, dst[:size]), "seed %d, %d bytes in buffers up to %d", seed, size, most)
			require.Equal(t, make([]byte, 64), dst[size:], "beyond the message")
		}
	}
}

func TestCopyAllAllocatesNothing(t *testing.T) {
	data := make([]byte, 2*farBytes)
	dst, src := [][]byte{data[:farBytes]}, [][]byte{data[farBytes : farBytes+100], data[farBytes+100:]}
	require.Zero(t, alloctest.Least(10, func() { CopyAll(dst, src) }))
}

func TestSpreadAndGather(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		data := make([]byte, r.IntN(200))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		flat := make([]byte, len(data)+3)
		require.Equal(t, len(data), Gather(flat, cut(r, data, 20)))
		require.Equal(t, data, flat[:len(data)])
		room := make([]byte, len(data)+r.IntN(9))
		require.Equal(t, len(data), Spread(cut(r, room, 20), data))
		require.Equal(t, data, room[:len(data)])
	}
}
