package lsh

import (
	"encoding/binary"
	"math"

	"github.com/switchyard-moe/switchyard/internal/hadamard"
)

const (
	blockColumns = hadamard.Block
	scaleBytes   = 2 // bf16
	mostLevels   = 8 // of magnitudes
)

// normalLevels are the magnitudes of the levels of 1 to 4 bits that have the least mean squared
// error for the normal distribution of variance 1. A level is as likely positive as negative.
var normalLevels = [...][]float32{
	{0.797885},
	{0.452780, 1.510418},
	{0.245094, 0.756005, 1.343909, 2.151946},
	{0.128395, 0.388048, 0.656759, 0.942340, 1.256231, 1.618046, 2.069017, 2.732590},
}

// appendBlock rotates a block in place and writes it: the scale, then codes of bits bits, the
// lowest bits of the first byte first. The upper bit of a code is the sign, the others are the
// number of the magnitude.
func appendBlock(dst []byte, block *[blockColumns]float32, bits int) []byte {
	hadamard.Blocks(block[:])
	bounds := boundsOf(bits, deviationOf(block))
	var codes [blockColumns]byte
	var sums [mostLevels]float32 // of the magnitudes that are written as each level
	var counts [mostLevels]int32
	for i, v := range block {
		b := math.Float32bits(v)
		size := b &^ (1 << 31)
		k := uint32(0)
		for _, bound := range bounds[:1<<(bits-1)-1] {
			k += (bound - size) >> 31 // 1 if size is above bound: neither has its upper bit set
		}
		codes[i] = byte(b>>31<<(bits-1) | k)
		sums[k%mostLevels] += math.Float32frombits(size)
		counts[k%mostLevels]++
	}
	dst = binary.LittleEndian.AppendUint16(dst, bf16(scaleOfLevels(bits, &sums, &counts)))
	return appendCodes(dst, &codes, bits)
}

// deviationOf is the standard deviation of normal numbers with the mean magnitude of the block's,
// the square of which float32 may not hold.
func deviationOf(block *[blockColumns]float32) float64 {
	sum := 0.0
	for _, v := range block {
		sum += math.Abs(float64(v))
	}
	return sum / blockColumns / float64(normalLevels[0][0])
}

// boundsOf are the bounds between magnitudes of normal numbers with a standard deviation, as bits
// of float32.
func boundsOf(bits int, deviation float64) (bounds [mostLevels]uint32) {
	levels := normalLevels[bits-1]
	for k := range levels[1:] {
		middle := (float64(levels[k]) + float64(levels[k+1])) / 2
		bounds[k] = math.Float32bits(float32(middle * deviation))
	}
	return bounds
}

// scaleOfLevels is the factor of levels that fits best, by least squares.
func scaleOfLevels(bits int, sums *[mostLevels]float32, counts *[mostLevels]int32) float32 {
	var dot, square float64
	for k, level := range normalLevels[bits-1] {
		dot += float64(float64(level) * float64(sums[k]))
		square += float64(float64(level*level) * float64(counts[k]))
	}
	return float32(dot / square)
}

// appendCodes writes eight codes in as many bytes as a code has bits.
func appendCodes(dst []byte, codes *[blockColumns]byte, bits int) []byte {
	for i := 0; i < blockColumns; i += 8 {
		word := uint32(0)
		for j, c := range codes[i : i+8] {
			word |= uint32(c) << (j * bits)
		}
		for range bits {
			dst = append(dst, byte(word))
			word >>= 8
		}
	}
	return dst
}

// decodeBlock reads what appendBlock has written.
func decodeBlock(block *[blockColumns]float32, src []byte, bits int) {
	scale := math.Float32frombits(uint32(binary.LittleEndian.Uint16(src))<<16) / blockColumns
	var values [16]float32 // by code
	for k, level := range normalLevels[bits-1] {
		values[k] = level * scale
		values[k|1<<(bits-1)] = -values[k]
	}
	src = src[scaleBytes:]
	mask := uint32(1)<<bits - 1
	for i := 0; i < blockColumns; i += 8 {
		word := uint32(0)
		for j, b := range src[:bits] {
			word |= uint32(b) << (8 * j)
		}
		src = src[bits:]
		for j := range 8 {
			block[i+j] = values[word>>(j*bits)&mask]
		}
	}
	hadamard.Blocks(block[:])
}

// bf16 rounds v to its upper 16 bits, ties to even. A NaN stays one.
func bf16(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 1<<6
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
