package lsh

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/hadamard"
)

// TestLevelsAreBestForTheNormalDistribution: each is the mean of the numbers that it stands for.
func TestLevelsAreBestForTheNormalDistribution(t *testing.T) {
	density := func(x float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }
	above := func(x float64) float64 { return math.Erfc(x/math.Sqrt2) / 2 }
	for bits, levels := range normalLevels {
		low := 0.0
		for k, level := range levels {
			high := math.Inf(1)
			if k+1 < len(levels) {
				high = (float64(level) + float64(levels[k+1])) / 2
			}
			mean := (density(low) - density(high)) / (above(low) - above(high))
			require.InDelta(t, mean, level, 2e-5, "%d bits, level %d", bits+1, k)
			low = high
		}
	}
}

// TestBlockAgainstASlowOne, in float64.
func TestBlockAgainstASlowOne(t *testing.T) {
	r := seeded(t)
	for range 50 {
		var block [blockColumns]float32
		for i := range block {
			block[i] = float32(r.NormFloat64())
		}
		block[r.IntN(blockColumns)] *= 20
		for bits := 1; bits <= 4; bits++ {
			sent := block
			code := appendBlock(nil, &sent, bits)
			require.Len(t, code, Residual{Bits: bits}.blockBytes())
			var got [blockColumns]float32
			decodeBlock(&got, code, bits)
			// The scale has 8 bits.
			for i, w := range slowBlock(block, bits) {
				require.InDelta(t, w, got[i], 0.2, "%d bits, column %d", bits, i)
			}
		}
	}
}

// slowBlock is what a block is read as, found by trying all levels.
func slowBlock(block [blockColumns]float32, bits int) (read [blockColumns]float64) {
	hadamard.Blocks(block[:])
	var sum, dot, square float64
	for _, v := range block {
		sum += math.Abs(float64(v))
	}
	rms := sum / blockColumns * math.Sqrt(math.Pi/2)
	var level [blockColumns]float64
	for i, v := range block {
		best := math.Inf(1)
		for _, l := range normalLevels[bits-1] {
			for _, signed := range []float64{float64(l), -float64(l)} {
				if d := math.Abs(signed*rms - float64(v)); d < best {
					best, level[i] = d, signed
				}
			}
		}
		dot, square = dot+level[i]*float64(v), square+level[i]*level[i]
	}
	for i := range read {
		for j := range level {
			sign := 1.0
			for b := i & j; b > 0; b &= b - 1 {
				sign = -sign
			}
			read[i] += sign * level[j] * dot / square / blockColumns
		}
	}
	return read
}
