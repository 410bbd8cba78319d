package view_test

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/view"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestBytesAreLittleEndian(t *testing.T) {
	x := []float32{1, -2.5, float32(math.Inf(1))}
	b := view.Bytes(x)
	require.Len(t, b, 12)
	for i, v := range x {
		require.Equal(t, math.Float32bits(v), binary.LittleEndian.Uint32(b[4*i:]))
	}
	require.Equal(t, []byte{1, 2, 0, 0, 0, 0, 0, 0}, view.Bytes([]int64{0x201}))
	require.Equal(t, []byte{255, 255, 255, 255}, view.Bytes([]int32{-1}))
}

func TestBytesAlias(t *testing.T) {
	x := make([]int32, 2)
	view.Bytes(x)[4] = 7
	require.Equal(t, []int32{0, 7}, x)
}

func TestBytesOfNothing(t *testing.T) {
	require.Empty(t, view.Bytes[float32](nil))
	require.Empty(t, view.Bytes([]float64{}))
}
