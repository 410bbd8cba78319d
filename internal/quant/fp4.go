package quant

import "math"

// Blocks of E2M1 numbers: 0, 0.5, 1, 1.5, 2, 3, 4 and 6, and their negatives. A block is its scale
// and then its codes, those of even places in the lower halves of the bytes.

const (
	nvBlock = 16
	// nvHead is the length of the float32 before the blocks of a row in NVFP4.
	nvHead      = 4
	largestE2M1 = 6
	nvNaN       = 0x7f // E4M3's
)

// chunk is how many numbers are encoded at a time.
const chunk = 512

// groups is what a chunk has of runs of 16 numbers: their largest magnitudes as bits, scales as
// they are written, and by what numbers are multiplied before they are rounded.
type groups struct {
	largest [chunk / nvBlock]uint32
	code    [chunk / nvBlock]byte
	factor  [chunk / nvBlock]float32
}

// encodePlain writes a row in MXFP4, NVFP4 or Int4.
func (f Format) encodePlain(dst []byte, row []float32) {
	switch f {
	case NVFP4:
		tensor := rowScale(row)
		putFloat(dst, tensor)
		encodeNVFP4(dst[nvHead:], row, tensor)
	case MXFP4:
		encodeMXFP4(dst, row, 0)
	default:
		eachBlock(row, int4Block, func(block []float32) { dst = encodeInt4(dst, block, 1) })
	}
}

// decodePlain reads what encodePlain has written, times unit.
func (f Format) decodePlain(row []float32, src []byte, unit float32) {
	switch f {
	case NVFP4:
		decodeFP4(row, src[nvHead:], nvBlock, float(src)*unit)
	case MXFP4:
		decodeFP4(row, src, mxBlock, unit)
	default:
		decodeInt4(row, src, unit)
	}
}

// encodeMXFP4 writes row over 2^shift in MXFP4. The scale takes the largest magnitude of a block,
// rounded to E2M1's two bits, to 4 or 6 (EVEN of torchao and compressed-tensors), so that a row
// that was read is written alike. A block with a NaN or an infinity has the scale NaN and codes 0.
func encodeMXFP4(dst []byte, row []float32, shift int) {
	var g groups
	for len(row) > 0 {
		part := row[:min(chunk, len(row))]
		maxima(&g, part)
		for b := range blocks(len(part), mxBlock) {
			largest := g.largest[2*b]
			if 2*b+1 < blocks(len(part), nvBlock) {
				largest = max(largest, g.largest[2*b+1])
			}
			g.code[b], g.factor[b] = mxScale(largest, shift)
		}
		dst, row = encodeFP4(dst, part, &g, mxBlock, mxNaN), row[len(part):]
	}
}

// mxScale returns the scale of a block of a largest magnitude over 2^shift, and its reciprocal.
func mxScale(largest uint32, shift int) (code byte, factor float32) {
	if largest >= notFinite {
		return mxNaN, 0
	}
	e := max(int(largest+0x200000)>>23-2-shift, 0) // up from a mantissa of 1.75
	return byte(e), math.Float32frombits(uint32(254-e-shift) << 23)
}

// rowScale returns the scale of a row in NVFP4, by which the largest finite block gets the scale
// 448. Numbers under 2⁻¹²⁸ become 0, since it is at least 2⁻¹²⁰.
func rowScale(row []float32) float32 {
	largest := largestIn(row)
	if !(largest < inf) {
		largest = 0
		eachBlock(row, nvBlock, func(block []float32) {
			if a := largestIn(block); a < inf {
				largest = max(largest, a)
			}
		})
	}
	return max(largest/(largestE4M3*largestE2M1), 1.0/(1<<60)/(1<<60))
}

// encodeNVFP4 writes the blocks of row over tensor. Scales are torchao's of two levels: rounded to
// even, from 2⁻⁶ to 448. A block with a NaN or an infinity has the scale NaN and codes 0.
func encodeNVFP4(dst []byte, row []float32, tensor float32) {
	var g groups
	for len(row) > 0 {
		part := row[:min(chunk, len(row))]
		maxima(&g, part)
		n := blocks(len(part), nvBlock)
		for b := nvScales(&g, tensor, n); b < n; b++ {
			g.code[b], g.factor[b] = nvScale(g.largest[b], tensor)
		}
		dst, row = encodeFP4(dst, part, &g, nvBlock, nvNaN), row[len(part):]
	}
}

// nvScale returns the scale of a block of a largest magnitude over tensor, and by what its numbers
// are multiplied.
func nvScale(largest uint32, tensor float32) (code byte, factor float32) {
	if largest >= notFinite {
		return nvNaN, 0
	}
	s := min(max(math.Float32frombits(largest)/largestE2M1/tensor, 1.0/(1<<6)), largestE4M3)
	b := math.Float32bits(s)
	b = (b + 1<<19 - 1 + b>>20&1) &^ (1<<20 - 1)
	return byte((b - (127-7)<<23) >> 20), 1 / tensor / math.Float32frombits(b)
}

// maxima sets the largest magnitude of each run of 16 numbers.
func maxima(g *groups, row []float32) {
	for i := maxima16(g, row); i < blocks(len(row), nvBlock); i++ {
		largest := uint32(0)
		for _, v := range row[i*nvBlock : min((i+1)*nvBlock, len(row))] {
			largest = max(largest, math.Float32bits(v)&^(1<<31))
		}
		g.largest[i] = largest
	}
}

// encodeFP4 writes the blocks of a chunk, each with its scale, and returns the rest of dst. Blocks
// of the scale nan get codes 0.
func encodeFP4(dst []byte, row []float32, g *groups, block int, nan byte) []byte {
	n := blocks(len(row), block)
	for b := encode4(dst, row, g, block); b < n; b++ {
		part, to := row[b*block:min((b+1)*block, len(row))], dst[b*(1+block/2):]
		to[0] = g.code[b]
		for i := range blocks(len(part), 2) {
			low, high := e2m1(part[2*i]*g.factor[b]), byte(0)
			if 2*i+1 < len(part) {
				high = e2m1(part[2*i+1] * g.factor[b])
			}
			to[1+i] = low | high<<4
		}
	}
	for b, c := range g.code[:n] {
		if c == nan {
			at := b * (1 + block/2)
			clear(dst[at+1 : at+1+blocks(min(block, len(row)-b*block), 2)])
		}
	}
	return dst[min(n*(1+block/2), len(dst)):]
}

// e2m1 rounds v, at most 6 of which is kept. Where numbers are steps of 2^e apart, the sum with
// 2^(e+23) has them as its last bits, rounded to even.
func e2m1(v float32) byte {
	a := min(abs(v), largestE2M1)
	m := math.Float32frombits(math.Float32bits(max(a, 1))&notFinite + 22<<23)
	s := math.Float32bits(a + m)
	return byte(math.Float32bits(v)>>28)&8 | byte(s+s>>22-42)&7
}

// e2m1Values is what each code stands for.
var e2m1Values = [16]float32{
	0, 0.5, 1, 1.5, 2, 3, 4, 6,
	float32(math.Copysign(0, -1)), -0.5, -1, -1.5, -2, -3, -4, -6,
}

// e8m0Values is what each byte of E8M0 stands for.
var e8m0Values = func() (values [256]float32) {
	for i := range values {
		values[i] = scaleOf(byte(i))
	}
	return values
}()

// decodeFP4 reads blocks with scales of E4M3 where they are of 16 numbers, and of E8M0 else, all
// times unit.
func decodeFP4(row []float32, src []byte, block int, unit float32) {
	scales := &e8m0Values
	if block == nvBlock {
		scales = &e4m3Values
	}
	done := decode4(row, src, scales, unit, block)
	row, src = row[done*block:], src[done*(1+block/2):]
	eachBlock(row, block, func(part []float32) {
		scale := scales[src[0]] * unit
		for i := range part {
			part[i] = e2m1Values[src[1+i/2]>>(4*(i%2))&15] * scale
		}
		src = src[1+blocks(len(part), 2):]
	})
}
