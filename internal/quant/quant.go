// Package quant writes rows of float32 in fewer bytes, and reads them back. Every row is written
// apart, so that what comes of one does not depend on others. Numbers are rounded to nearest, ties
// to even.
package quant

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Format is a way to write numbers.
type Format int

const (
	// Float32 writes them as they are.
	Float32 Format = iota
	// BF16 keeps 8 bits of a number's 24, and its range.
	BF16
	// FP16 is IEEE 754 binary16: 11 bits, up to 65504. What is larger becomes infinite.
	FP16
	// FP8 is E4M3 as in OCP's specification: 4 bits, with a float32 scale for each 128 numbers that
	// takes the largest of them to 448 (Micikevicius et al. 2022; DeepSeek-V3's tiles).
	FP8
	// Int8 is whole numbers from −127 to 127, with a float32 scale for each 128 numbers.
	Int8
	// FP8Expanded is E4M3 of powers of the numbers, by which a block fills its range: COAT's
	// dynamic range expansion. It takes the most time.
	FP8Expanded
	// MXFP8 is OCP's: E4M3 with a power of two (E8M0) for each 32 numbers, the least by which none
	// is above 448.
	MXFP8
	// MXFP4 is OCP's: E2M1 with a power of two (E8M0) for each 32 numbers.
	MXFP4
	// NVFP4 is E2M1 with a scale in E4M3 for each 16 numbers, over a float32 for the row.
	NVFP4
	// Int4 is integers from −7 to 7, with a float32 scale for each 64 numbers.
	Int4
	// MXFP4H, NVFP4H and Int4H are the formats above of rows whose blocks of 64 numbers are rotated
	// by a Hadamard matrix.
	MXFP4H
	NVFP4H
	Int4H

	formats int = iota
)

// Block is how many numbers share a scale.
const Block = 128

var names = [formats]string{
	"float32", "bf16", "fp16", "fp8", "int8", "fp8-expanded",
	"mxfp8", "mxfp4", "nvfp4", "int4", "mxfp4-h", "nvfp4-h", "int4-h",
}

// String returns the format's name, by which Parse finds it.
func (f Format) String() string {
	if !f.Known() {
		return fmt.Sprintf("Format(%d)", int(f))
	}
	return names[f]
}

// Known tells whether there is such a format.
func (f Format) Known() bool { return f >= 0 && int(f) < formats }

// Names lists the formats' names.
func Names() []string { return names[:] }

// Parse returns the format of a name.
func Parse(name string) (Format, error) {
	for f, n := range names {
		if n == name {
			return Format(f), nil
		}
	}
	return 0, fmt.Errorf("no format %q, want one of %v", name, names)
}

// Bytes is the length of n numbers.
func (f Format) Bytes(n int) int {
	switch f {
	case Float32:
		return 4 * n
	case BF16, FP16:
		return 2 * n
	case MXFP8:
		return n + blocks(n, mxBlock)
	case MXFP4, MXFP4H:
		return blocks(n, 2) + blocks(n, mxBlock)
	case NVFP4, NVFP4H:
		return nvHead + blocks(n, 2) + blocks(n, nvBlock)
	case Int4, Int4H:
		return blocks(n, 2) + 4*blocks(n, int4Block)
	}
	head := 4
	if f == FP8Expanded {
		head = expandedHead
	}
	return n + head*blocks(n, Block)
}

// blocks is how many blocks of size numbers n are, the last one perhaps shorter.
func blocks(n, size int) int { return (n + size - 1) / size }

// Encode writes row to dst, which is Bytes(len(row)) long. A NaN stays one; with a shared scale a
// NaN or an infinity makes its whole block NaN.
func (f Format) Encode(dst []byte, row []float32) {
	switch f {
	case Float32:
		for i, v := range row {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
	case BF16:
		for i := encode16(f, dst, row); i < len(row); i++ {
			binary.LittleEndian.PutUint16(dst[2*i:], bf16(row[i]))
		}
	case FP16:
		for i := encode16(f, dst, row); i < len(row); i++ {
			binary.LittleEndian.PutUint16(dst[2*i:], fp16(row[i]))
		}
	case FP8Expanded:
		eachBlock(row, Block, func(block []float32) { dst = encodeExpanded(dst, block) })
	case MXFP8:
		eachBlock(row, mxBlock, func(block []float32) { dst = encodeMXFP8(dst, block) })
	case MXFP4, NVFP4, Int4:
		f.encodePlain(dst, row)
	case MXFP4H, NVFP4H, Int4H:
		f.encodeRotated(dst, row)
	default:
		eachBlock(row, Block, func(block []float32) { dst = f.encodeBlock(dst, block) })
	}
}

// Decode reads len(row) numbers from src.
func (f Format) Decode(row []float32, src []byte) {
	switch f {
	case Float32:
		for i := range row {
			row[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case BF16:
		for i := decode16(f, row, src); i < len(row); i++ {
			row[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	case FP16:
		for i := decode16(f, row, src); i < len(row); i++ {
			row[i] = fromFP16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case FP8Expanded:
		eachBlock(row, Block, func(block []float32) { src = decodeExpanded(block, src) })
	case MXFP8:
		eachBlock(row, mxBlock, func(block []float32) {
			FP8.decodeCodes(block, src[1:], scaleOf(src[0]))
			src = src[1+len(block):]
		})
	case MXFP4, NVFP4, Int4:
		f.decodePlain(row, src, 1)
	case MXFP4H, NVFP4H, Int4H:
		f.decodeRotated(row, src)
	default:
		eachBlock(row, Block, func(block []float32) {
			f.decodeCodes(block, src[4:], float(src))
			src = src[4+len(block):]
		})
	}
}

// decodeCodes reads a block of one byte a number.
func (f Format) decodeCodes(block []float32, src []byte, scale float32) {
	for i := decode8(f, block, src, scale); i < len(block); i++ {
		block[i] = scale * f.small(src[i])
	}
}

// float reads a float32, and putFloat writes one.
func float(src []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(src)) }

func putFloat(dst []byte, v float32) { binary.LittleEndian.PutUint32(dst, math.Float32bits(v)) }

func eachBlock(row []float32, size int, do func(block []float32)) {
	for len(row) > 0 {
		n := min(size, len(row))
		do(row[:n])
		row = row[n:]
	}
}

// encodeBlock writes a scale and numbers that share it, and returns the rest of dst.
func (f Format) encodeBlock(dst []byte, block []float32) []byte {
	top := float32(127)
	if f == FP8 {
		top = largestE4M3
	}
	largest := largestIn(block)
	scale := largest / top
	if !(largest < inf) {
		scale = float32(math.NaN())
	}
	if scale == 0 && largest > 0 { // too small to divide by
		scale = math.SmallestNonzeroFloat32
	}
	binary.LittleEndian.PutUint32(dst, math.Float32bits(scale))
	dst = dst[4:]
	if !(scale > 0) {
		clear(dst[:len(block)])
		return dst[len(block):]
	}
	f.encodeCodes(dst, block, scale, top)
	return dst[len(block):]
}

// encodeCodes writes a block's numbers over scale, between -top and top, one byte each.
func (f Format) encodeCodes(dst []byte, block []float32, scale, top float32) {
	for i := encode8(f, dst, block, scale, top); i < len(block); i++ {
		q := min(max(block[i]/scale, -top), top)
		if f == FP8 {
			dst[i] = e4m3(q)
		} else {
			dst[i] = byte(int8(math.RoundToEven(float64(q))))
		}
	}
}

// largestIn returns the largest magnitude in a block, a NaN if there is one.
func largestIn(block []float32) float32 {
	largest, n := largestOf(block)
	if largest != largest {
		return largest
	}
	for _, v := range block[n:] {
		if a := abs(v); !(a <= largest) { // a NaN too, which nothing is above
			largest = a
			if a != a {
				break
			}
		}
	}
	return largest
}

var inf = float32(math.Inf(1))

// small is the number that a byte stands for.
func (f Format) small(b byte) float32 {
	if f == FP8 {
		return e4m3Values[b]
	}
	return float32(int8(b))
}

func abs(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

// bf16 rounds v to its upper 16 bits.
func bf16(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 1<<6 // quiet, and still a NaN
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// fp16 rounds v to binary16.
func fp16(v float32) uint16 {
	b := math.Float32bits(v)
	sign := uint16(b >> 16 & 0x8000)
	switch a := abs(v); {
	case v != v:
		return sign | 0x7e00 | uint16(b>>13&0x1ff)
	case a >= 65520: // half way from the largest number to the next one's place
		return sign | 0x7c00
	case a < 1.0/(1<<14): // a multiple of 2⁻²⁴
		return sign | uint16(math.RoundToEven(float64(a)*(1<<24)))
	}
	b &^= 1 << 31
	b += 0xfff + b>>13&1
	return sign | uint16((b-(127-15)<<23)>>13)
}

func fromFP16(h uint16) float32 {
	sign, e, m := uint32(h&0x8000)<<16, uint32(h>>10&31), uint32(h&1023)
	switch {
	case e == 31 && m > 0:
		return math.Float32frombits(sign | 0x7fc00000 | m<<13)
	case e == 31:
		return math.Float32frombits(sign | 0x7f800000)
	case e == 0:
		return math.Float32frombits(math.Float32bits(float32(m)/(1<<24)) | sign)
	}
	return math.Float32frombits(sign | (e+127-15)<<23 | m<<13)
}

// largestE4M3 is the largest number of E4M3.
const largestE4M3 = 448

// e4m3Values is what each byte stands for: a sign, four bits of exponent with bias 7, three of
// fraction; all ones is NaN.
var e4m3Values = func() (values [256]float32) {
	for i := range values {
		e, m := i>>3&15, float64(i&7)
		v := math.Ldexp(1+m/8, e-7)
		if e == 0 {
			v = math.Ldexp(m/8, -6)
		}
		if i&127 == 127 {
			v = math.NaN()
		}
		if i >= 128 {
			v = -v
		}
		values[i] = float32(v)
	}
	return values
}()

// e4m3 rounds v, which is at most largestE4M3 in size.
func e4m3(v float32) byte {
	b := math.Float32bits(v)
	sign := byte(b >> 24 & 0x80)
	if v != v {
		return sign | 0x7f
	}
	if a := abs(v); a < 1.0/(1<<6) { // a multiple of 2⁻⁹
		return sign | byte(math.RoundToEven(float64(a)*(1<<9)))
	}
	b &^= 1 << 31
	b += 1<<19 - 1 + b>>20&1
	return sign | byte((b-(127-7)<<23)>>20)
}
