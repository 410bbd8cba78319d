package alltoall

import (
	"slices"

	"github.com/switchyard-moe/switchyard/internal/quant"
)

// Format is a built-in [Codec]. Numbers are rounded to nearest, ties to even. With a shared scale a
// NaN or an infinity makes its whole block NaN.
type Format int

const (
	// Float32 writes numbers as they are.
	Float32 = Format(quant.Float32)
	// BF16 keeps 8 bits of a number's 24, and its range.
	BF16 = Format(quant.BF16)
	// FP16 is IEEE 754 binary16: 11 bits, up to 65504. Larger numbers become infinite.
	FP16 = Format(quant.FP16)
	// FP8 is E4M3 of OCP's specification: 4 bits, with a float32 scale for each 128 columns that
	// takes the largest of them to 448 (Micikevicius et al. 2022; DeepSeek-V3's tiles).
	FP8 = Format(quant.FP8)
	// Int8 is integers from −127 to 127, with a float32 scale for each 128 columns.
	Int8 = Format(quant.Int8)
	// FP8Expanded is E4M3 of powers of the numbers, by which a block of 128 fills its range: COAT's
	// dynamic range expansion. It takes the most time.
	FP8Expanded = Format(quant.FP8Expanded)
	// MXFP8 is E4M3 in blocks of OCP's Microscaling formats: 32 columns share a power of two (E8M0),
	// the least by which none of them is above 448 (RCEIL, as in NVIDIA's recipe for training).
	MXFP8 = Format(quant.MXFP8)
	// MXFP4 is E2M1 in such blocks: 4.25 bits a number. The power of two takes the largest of a
	// block, rounded to two bits, to 4 or 6 (EVEN of torchao and compressed-tensors).
	MXFP4 = Format(quant.MXFP4)
	// NVFP4 is E2M1 in blocks of 16 columns, each with a scale in E4M3, over a float32 for the row:
	// 4.5 bits a number and 4 bytes. Both scales are computed as torchao's, with the row for the
	// tensor. In a row whose largest magnitude is a, numbers below a/2¹⁹ or so become 0 (a/2¹⁶ where
	// rotated), and so do those below 2⁻¹²⁸.
	NVFP4 = Format(quant.NVFP4)
	// Int4 is integers from −7 to 7, with a float32 scale for each 64 columns: 4.5 bits a number.
	Int4 = Format(quant.Int4)
	// MXFP4H, NVFP4H and Int4H are these formats of rows whose blocks of 64 columns are multiplied by
	// the Hadamard matrix over 8 (Sylvester's order) before they are rounded, and again once they are
	// read, which undoes it: an outlier is spread over its block (QuaRot, Ashkboos et al. 2024).
	// Columns behind the last whole block are not rotated. A NaN or an infinity takes along its block
	// of 64, and numbers above 2¹²² may come back as infinite or NaN.
	MXFP4H = Format(quant.MXFP4H)
	NVFP4H = Format(quant.NVFP4H)
	Int4H  = Format(quant.Int4H)
)

// String returns the format's name, by which ParseFormat finds it.
func (f Format) String() string { return quant.Format(f).String() }

// Bytes is the length in a message of a row of n numbers.
func (f Format) Bytes(n int) int { return quant.Format(f).Bytes(n) }

// Append writes row behind dst.
func (f Format) Append(dst []byte, row []float32) []byte {
	begin, n := len(dst), f.Bytes(len(row))
	dst = slices.Grow(dst, n)[:begin+n]
	quant.Format(f).Encode(dst[begin:], row)
	return dst
}

// Decode reads len(row) numbers from src, which is Bytes(len(row)) long. Any bytes are numbers, so
// that it never fails.
func (f Format) Decode(row []float32, src []byte) error {
	quant.Format(f).Decode(row, src)
	return nil
}

// ParseFormat returns the format of a name: float32, bf16, fp16, fp8, int8, fp8-expanded, mxfp8,
// mxfp4, nvfp4, int4, mxfp4-h, nvfp4-h or int4-h.
func ParseFormat(name string) (Format, error) {
	f, err := quant.Parse(name)
	return Format(f), err
}

// FormatNames lists those names.
func FormatNames() []string { return quant.Names() }
