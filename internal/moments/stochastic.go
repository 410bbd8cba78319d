package moments

import (
	"math"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Stochastic rounding for second moments: a number becomes one of its two neighbours, the nearer
// one more often, so that on average it is itself. An update changes a second moment by a small
// part, which rounding to nearest would take back each time: moments would stay where they are
// until a gradient is many times as large as usual.

// steps are how many numbers between 0 and 1 a block is rounded by, evenly spread; a full block has
// each of them once. They are moved by a part of their distance, that is of parts.
const (
	steps = Block
	parts = 1 << 13
)

// mix is a hash of a seed (the finalizer of SplitMix64).
func mix(seed uint64) uint64 {
	seed = (seed ^ seed>>30) * 0xbf58476d1ce4e5b9
	seed = (seed ^ seed>>27) * 0x94d049bb133111eb
	return seed ^ seed>>31
}

// dither is what the numbers of a block are rounded by: the i-th by step i times an odd number,
// under a mask, and a part of a step.
type dither struct{ mask, part uint32 }

func ditherOf(seed uint64) dither {
	h := mix(seed)
	return dither{uint32(h) % steps, uint32(h>>32) % parts}
}

func (d dither) step(i int) uint32 { return (uint32(i)*77 ^ d.mask) % steps }

// EncodeStochastic is Encode of one block, of at most Block numbers that are not below 0, by FP8 or
// Log4 with stochastic rounding. What comes of it depends on the block and the seed alone.
func (f Format) EncodeStochastic(dst []byte, block []float32, seed uint64) {
	if len(block) == 0 {
		return
	}
	dst = dst[:f.Bytes(len(block))]
	if f == FP8 {
		encodeDitheredFP8(dst, block, ditherOf(seed))
		return
	}
	encodeDitheredLog4(dst, block, ditherOf(seed))
}

// powers rounds powers, of at most 448, to numbers of E4M3.
func (d dither) powers(list []float32) {
	const (
		lost    = 20     // bits of a float32's fraction that E4M3 has not: as many as a step and a part
		shorter = 0x1p-6 // below, E4M3 has one spacing
	)
	for i, z := range list {
		u := d.step(i)*parts + d.part
		if z >= shorter {
			list[i] = math.Float32frombits((math.Float32bits(z) + u) &^ (1<<lost - 1))
		} else {
			list[i] = math.Float32frombits((math.Float32bits(z+shorter)+u)&^(1<<lost-1)) - shorter
		}
	}
}

// lower divides numbers by powers of a ratio, 2^octaves, from 0 to 1. The number of values, such
// ratios apart, that one then reaches is one less than that to which it is rounded: up or down so
// that its logarithm is right on average, as ratios are too large for the number itself to be.
func (d dither) lower(to, block []float32, octaves float32) {
	const high = 16 // steps go by their multiples of this and the rest
	var whole [steps / high]float32
	var rest [high]float32
	for i := range whole {
		whole[i] = f32.Exp2(-float32(octaves * float32(i) / (steps / high)))
	}
	for i := range rest {
		u := (float32(i) + (float32(d.part)+0.5)/parts) / steps
		rest[i] = f32.Exp2(-float32(octaves * u))
	}
	for i, v := range block {
		s := d.step(i)
		to[i] = float32(v*whole[s/high]) * rest[s%high]
	}
}
