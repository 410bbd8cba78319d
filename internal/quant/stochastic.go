package quant

import (
	"math"

	"github.com/switchyard-moe/switchyard/internal/hadamard"
)

// Stochastic rounding: a number becomes one of its two neighbours, the nearer one more often, so
// that on average it is itself. The random numbers come from a seed, the row and the column alone.
// Scales are rounded up, since what is cut would be too small on average.

// FourBits tells whether f is a format of four bits, which EncodeStochastic writes.
func (f Format) FourBits() bool { return f >= MXFP4 && f <= Int4H }

// EncodeStochastic is Encode of a format of four bits with stochastic rounding.
func (f Format) EncodeStochastic(dst []byte, row []float32, seed uint64) {
	d, tensor, plain := newDither(seed, row), float32(0), f
	rotated := f >= MXFP4H
	if rotated {
		plain = f.plain()
	}
	if plain == NVFP4 {
		tensor = rowScale(row)
		if rotated {
			tensor *= 1 << rotatedShift
		}
		putFloat(dst, tensor)
		dst = dst[nvHead:]
	}
	eachBlock(row, hadamard.Block, func(block []float32) {
		var copied [hadamard.Block]float32
		part := copied[:copy(copied[:], block)]
		if rotated && len(part) == hadamard.Block {
			hadamard.Blocks(part)
			for i := range part {
				part[i] /= 1 << rotatedShift
			}
		}
		eachBlock(part, plain.block(), func(block []float32) { dst = plain.encodeDithered(dst, block, tensor, d) })
	})
}

// block is how many numbers share a scale in a format of four bits.
func (f Format) block() int {
	switch f {
	case MXFP4:
		return mxBlock
	case NVFP4:
		return nvBlock
	}
	return int4Block
}

// encodeDithered writes a block and returns the rest of dst.
func (f Format) encodeDithered(dst []byte, block []float32, tensor float32, d *dither) []byte {
	head, factor := 1, float32(0)
	largest := math.Float32bits(largestIn(block)) &^ (1 << 31)
	switch f {
	case MXFP4:
		dst[0], factor = mxScaleUp(largest)
	case NVFP4:
		dst[0], factor = nvScaleUp(largest, tensor)
	default:
		head, factor = 4, int4Scale(dst, largest)
	}
	out := dst[head:][:blocks(len(block), 2)]
	clear(out)
	for i, v := range block {
		u := d.next()
		if largest < notFinite {
			out[i/2] |= f.dithered(v*factor, u) << (4 * (i % 2))
		}
	}
	return dst[head+len(out):]
}

// mxScaleUp is mxScale whose scale is the least by which no number is above 6.
func mxScaleUp(largest uint32) (code byte, factor float32) {
	if largest >= notFinite {
		return mxNaN, 0
	}
	e := max(int(largest+0x3fffff)>>23-2, 0) // up from above a mantissa of 1.5
	return byte(e), math.Float32frombits(uint32(254-e) << 23)
}

// nvScaleUp is nvScale whose scale is rounded up.
func nvScaleUp(largest uint32, tensor float32) (code byte, factor float32) {
	if largest >= notFinite {
		return nvNaN, 0
	}
	s := min(max(math.Float32frombits(largest)/largestE2M1/tensor, 1.0/(1<<6)), largestE4M3)
	b := (math.Float32bits(s) + 1<<20 - 1) &^ (1<<20 - 1)
	return byte((b - (127-7)<<23) >> 20), 1 / tensor / math.Float32frombits(b)
}

// int4Scale writes the scale of a block and returns its reciprocal, 0 if there is none.
func int4Scale(dst []byte, largest uint32) float32 {
	scale := math.Float32frombits(largest) / largestInt4
	if !(scale < inf) {
		scale = float32(math.NaN())
	}
	if factor := 1 / scale; factor < inf {
		putFloat(dst, scale)
		return factor
	}
	putFloat(dst, scale*0) // too small to divide by, or a NaN
	return 0
}

// dithered rounds q up with the probability that its place between two neighbours tells.
func (f Format) dithered(q, u float32) byte {
	step := float32(1)
	if f != Int4 {
		m := math.Float32bits(max(abs(q), 1)) & notFinite
		step = math.Float32frombits(m - 1<<23)
	}
	whole := float32(math.Floor(float64(abs(q))/float64(step)+float64(u))) * step
	if f == Int4 {
		return int4(float32(math.Copysign(float64(whole), float64(q))))
	}
	return e2m1(float32(math.Copysign(float64(whole), float64(q))))
}

// dither makes a row's random numbers, by splitmix64.
type dither struct{ state uint64 }

const golden = 0x9e3779b97f4a7c15

func newDither(seed uint64, row []float32) *dither {
	h := mix(seed + golden)
	for _, v := range row {
		h = (h ^ uint64(math.Float32bits(v))) * 0x100000001b3
		h ^= h >> 29
	}
	return &dither{mix(h)}
}

// next returns the next number, from 0 up to 1.
func (d *dither) next() float32 {
	d.state += golden
	return float32(mix(d.state)>>40) / (1 << 24)
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
