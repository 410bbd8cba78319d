package router

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFirstParametersFillTheirRange: gates begin with numbers drawn evenly from -1/√Dim to 1/√Dim,
// others for another seed.
func TestFirstParametersFillTheirRange(t *testing.T) {
	for _, config := range []Router{TopK{K: 1}, ExpertChoice{CapacityFactor: 1}} {
		first := func(seed uint64) []float32 {
			g, err := config.New(Shape{Dim: 64, Experts: 32, Seed: seed})
			require.NoError(t, err)
			return g.Params().Value
		}
		values, mean := first(1), 0.0
		for _, v := range values {
			mean += float64(v) / float64(len(values))
		}
		const limit = 1. / 8
		require.True(t, slices.Min(values) >= -limit && slices.Max(values) <= limit, "%T", config)
		require.InDelta(t, -limit, slices.Min(values), 0.02*limit)
		require.InDelta(t, limit, slices.Max(values), 0.02*limit)
		require.InDelta(t, 0, mean, 0.1*limit)
		require.Equal(t, values, first(1))
		require.NotEqual(t, values, first(2))
	}
}

// TestFirstParametersOfAuxiliaryRoutersStay pins what a job that is built again must draw again:
// numbers of its own for each modality.
func TestFirstParametersOfAuxiliaryRoutersStay(t *testing.T) {
	g, err := Modality{Groups: []ModalityGroup{{"text", 2}, {"image", 2}}, Aux: true}.New(Shape{Dim: 8, Experts: 4, Seed: 5})
	require.NoError(t, err)
	h := fnv.New64a()
	require.NoError(t, binary.Write(h, binary.LittleEndian, g.Params().Value))
	require.Equal(t, uint64(0xc928dff15b9c2d71), h.Sum64())
}

// draws is how often a test of frequencies draws; its bounds follow. It draws less often in short
// tests, as under the race detector.
func draws() int {
	if testing.Short() {
		return 2000
	}
	return 20000
}
