package alltoall

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/quant"
)

// Format is how the numbers of rows are written in messages. Rows are rounded whether they leave
// the rank or not, so that results do not depend on where experts are; what is computed and summed
// stays float32. Numbers are rounded to nearest, ties to even.
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
)

// String returns the format's name, by which ParseFormat finds it.
func (f Format) String() string { return quant.Format(f).String() }

// Bytes is the length in a message of a row of n numbers.
func (f Format) Bytes(n int) int { return quant.Format(f).Bytes(n) }

// ParseFormat returns the format of a name: float32, bf16, fp16, fp8, int8 or fp8-expanded.
func ParseFormat(name string) (Format, error) {
	f, err := quant.Parse(name)
	return Format(f), err
}

// FormatNames lists those names.
func FormatNames() []string { return quant.Names() }

// encode writes row to dst, which is Bytes(len(row)) long. A NaN stays one; with a shared scale a
// NaN or an infinity makes its whole block NaN.
func (f Format) encode(dst []byte, row []float32) { quant.Format(f).Encode(dst, row) }

// decode reads len(row) numbers from src.
func (f Format) decode(row []float32, src []byte) { quant.Format(f).Decode(row, src) }

// Wire is the format of rows on each of the four legs of a step. Its zero value is float32 on all.
type Wire struct {
	// Dispatch is the format of rows on their way to experts, and Combine of their answers.
	Dispatch, Combine Format
	// DispatchBack is the format of the gradients of answers, and CombineBack of those of rows.
	DispatchBack, CombineBack Format
	// Finite makes a NaN or an infinity that is about to leave a rank an error there, [ErrNotFinite],
	// with its row and column. In the rows of a Begin, the Begin of the other ranks returns
	// [ErrRefused] at once; elsewhere they wait until that rank closes its transport. A layer does
	// better: it fails the pass on every rank. Without Finite such numbers travel, as far as the
	// formats have them.
	Finite bool
}

// Everywhere is one format on all legs.
func Everywhere(f Format) Wire {
	return Wire{Dispatch: f, Combine: f, DispatchBack: f, CombineBack: f}
}

// Validate returns an error if a format is not one of those above.
func (w Wire) Validate() error {
	for _, f := range []Format{w.Dispatch, w.Combine, w.DispatchBack, w.CombineBack} {
		if !quant.Format(f).Known() {
			return fmt.Errorf("alltoall: Wire has %v, want one of %v", f, FormatNames())
		}
	}
	return nil
}

// arrivingRows are rows that come in another format than float32, and where they belong.
type arrivingRows struct {
	format      Format
	buf         []byte
	m           blas32.General
	first, rows int
}

// offer appends rows [first, first+n) of m to the round's buffers, in a format.
func (x *Exchange) offer(f Format, m blas32.General, first, n int) {
	if n == 0 {
		return
	}
	if f == Float32 {
		x.round.bufs = append(x.round.bufs, bytesOf(m, first, n))
		return
	}
	width := f.Bytes(m.Cols)
	buf := x.round.takeBytes(n * width)
	for i := range n {
		f.encode(buf[i*width:(i+1)*width], m.Data[(first+i)*m.Cols:(first+i+1)*m.Cols])
	}
	x.round.bufs = append(x.round.bufs, buf)
}

// expect appends room for rows [first, first+n) of m, which come in a format, to the round's
// buffers. The rows are there after the round.
func (x *Exchange) expect(f Format, m blas32.General, first, n int) {
	if n == 0 {
		return
	}
	if f == Float32 {
		x.round.bufs = append(x.round.bufs, bytesOf(m, first, n))
		return
	}
	buf := x.round.takeBytes(n * f.Bytes(m.Cols))
	x.round.bufs = append(x.round.bufs, buf)
	x.round.narrow = append(x.round.narrow, arrivingRows{f, buf, m, first, n})
}

// widen puts the rows that came in another format where they belong.
func (x *Exchange) widen() {
	for _, a := range x.round.narrow {
		cols, width := a.m.Cols, a.format.Bytes(a.m.Cols)
		for i := range a.rows {
			a.format.decode(a.m.Data[(a.first+i)*cols:(a.first+i+1)*cols], a.buf[i*width:(i+1)*width])
		}
	}
}

// encodeSource writes all rows of the first trip in its format: those of each token once.
func (h *Handle) encodeSource() {
	f, dim := h.x.wire.Dispatch, h.x.dim
	if f == Float32 {
		return
	}
	width, m := f.Bytes(dim), h.src.m
	if n := m.Rows * width; cap(h.encoded) < n {
		h.encoded = make([]byte, n)
	}
	h.encoded = h.encoded[:m.Rows*width]
	for i := range m.Rows {
		f.encode(h.encoded[i*width:(i+1)*width], m.Data[i*m.Stride:i*m.Stride+dim])
	}
}
