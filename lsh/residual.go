package lsh

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Residual writes rows in few bits: the number of the nearest of some centroids that both sides
// have, in one byte, and the difference from it. (Residual vector quantisation, with one vector
// stage and one scalar stage: Gray and Neuhoff 1998, §V.) No row is left out, so nothing that is
// computed is lost either, and rows need not arrive in large groups.
//
// The difference is padded with zeros to blocks of 64 columns. Each is rotated by a Hadamard
// transform, which makes its numbers nearly normal, and written as levels that are best for the
// normal distribution (Lloyd 1982; Max 1960), times a bf16 scale that fits them by least squares.
//
// A Residual by itself has the centroid zero alone, and rows of zeros stay zeros under all. It is a
// codec for a leg of alltoall.Wire, and so is a [Codebook], which has centroids.
type Residual struct {
	// Bits is the number of bits of a column, 1 to 4.
	Bits int
	// Centroids is the number of centroids that a layer learns for a leg, 0 to 255.
	Centroids int
}

// mostCentroids is what a byte has numbers for, besides zero.
const mostCentroids = 255

// Validate returns an error if a setting is out of range.
func (r Residual) Validate() error {
	if r.Bits < 1 || r.Bits > len(normalLevels) || r.Centroids < 0 || r.Centroids > mostCentroids {
		return fmt.Errorf("lsh: Residual with %d bits and %d centroids, want 1 to %d and 0 to %d",
			r.Bits, r.Centroids, len(normalLevels), mostCentroids)
	}
	return nil
}

// String states both settings.
func (r Residual) String() string { return fmt.Sprintf("residual-%d-%d", r.Bits, r.Centroids) }

// Bytes is the length of a row of n numbers, 0 if r is not valid.
func (r Residual) Bytes(n int) int {
	if r.Validate() != nil {
		return 0
	}
	return 1 + (n+blockColumns-1)/blockColumns*r.blockBytes()
}

// blockBytes is the length of a block.
func (r Residual) blockBytes() int { return scaleBytes + blockColumns/8*r.Bits }

// Append writes a row behind dst.
func (r Residual) Append(dst []byte, row []float32) []byte { return r.append(dst, row, nil, 0) }

// append writes the difference of row from centroid, whose number is given; nil is zero.
func (r Residual) append(dst []byte, row, centroid []float32, number byte) []byte {
	dst = append(dst, number)
	var block [blockColumns]float32
	for begin := 0; begin < len(row); begin += blockColumns {
		end := min(begin+blockColumns, len(row))
		clear(block[copy(block[:], row[begin:end]):])
		if centroid != nil {
			for i, c := range centroid[begin:end] {
				block[i] -= c
			}
		}
		dst = appendBlock(dst, &block, r.Bits)
	}
	return dst
}

// Decode reads a row.
func (r Residual) Decode(row []float32, src []byte) error {
	if src[0] != 0 {
		return fmt.Errorf("lsh: centroid %d, want 0, as there are none", src[0])
	}
	r.decode(row, src[1:], nil)
	return nil
}

// decode reads a difference, and adds the centroid; nil is zero.
func (r Residual) decode(row []float32, src []byte, centroid []float32) {
	var block [blockColumns]float32
	for begin := 0; begin < len(row); begin += blockColumns {
		decodeBlock(&block, src[:r.blockBytes()], r.Bits)
		src = src[r.blockBytes():]
		copy(row[begin:], block[:])
	}
	if centroid != nil {
		f32.Add(row, centroid)
	}
}

// Codebook is a [Residual] with centroids. It does not change, and any goroutines may use it. Rows
// of another length than the centroids' are written without them.
type Codebook struct {
	residual  Residual
	centroids blas32.General
	half      []float32 // of the square of each centroid's length
	name      string
}

// NewCodebook returns a codebook with a copy of centroids, at most 255. They must be finite.
func NewCodebook(r Residual, centroids blas32.General) (*Codebook, error) {
	if r.Centroids = centroids.Rows; centroids.Rows < 0 {
		return nil, fmt.Errorf("lsh: a codebook of %d rows", centroids.Rows)
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if err := check.Matrix(centroids, centroids.Cols); err != nil {
		return nil, errtext.Errorf("lsh: centroids of a codebook: %w", err)
	}
	var own mat.Buffer
	b := &Codebook{residual: r, centroids: own.Matrix(centroids.Rows, centroids.Cols)}
	sum := crc32.NewIEEE()
	for k := range centroids.Rows {
		row := mat.Row(b.centroids, k)
		copy(row, mat.Row(centroids, k))
		half := f32.Dot(row, row) / 2
		if !finite(half) {
			return nil, fmt.Errorf("lsh: centroid %d of a codebook has a length that is not finite", k)
		}
		b.half = append(b.half, half)
		if err := binary.Write(sum, binary.LittleEndian, row); err != nil {
			return nil, err
		}
	}
	b.name = fmt.Sprintf("%v-%08x", r, sum.Sum32())
	return b, nil
}

// LearnCodebook returns a codebook of at most r.Centroids centroids of the rows, found by hashing
// and Lloyd iterations. Rows that are not finite, and centroids of rows far longer than most, are
// left out; of no rows there are no centroids. The result depends on the order of the rows.
func LearnCodebook(r Residual, rows blas32.General) (*Codebook, error) {
	const iterations = 8
	if err := r.Validate(); err != nil {
		return nil, err
	}
	kept := finiteRows(rows)
	if kept.Rows == 0 || r.Centroids == 0 {
		return NewCodebook(r, blas32.General{Cols: rows.Cols, Stride: rows.Stride})
	}
	rate := min(float64(r.Centroids)/float64(kept.Rows), 1)
	c, err := New(Config{Rate: rate, Refine: iterations, Compensation: None}, rows.Cols, 1)
	if err != nil {
		return nil, err
	}
	centroids, p := c.Compress(kept, []int{kept.Rows})
	defer p.Release()
	return NewCodebook(r, mat.Rows(centroids, 0, min(centroids.Rows, r.Centroids)))
}

// finiteRows copies the rows whose lengths have finite squares.
func finiteRows(m blas32.General) blas32.General {
	kept := blas32.General{Cols: m.Cols, Stride: m.Cols}
	for i := range m.Rows {
		if row := mat.Row(m, i); finite(f32.Dot(row, row)) {
			kept.Data = append(kept.Data, row...)
			kept.Rows++
		}
	}
	return kept
}

// Centroids returns the centroids, which must not be changed.
func (b *Codebook) Centroids() blas32.General { return b.centroids }

// String states the settings and a checksum of the centroids.
func (b *Codebook) String() string { return b.name }

// Bytes is the length of a row of n numbers.
func (b *Codebook) Bytes(n int) int { return b.residual.Bytes(n) }

// Append writes a row behind dst.
func (b *Codebook) Append(dst []byte, row []float32) []byte {
	if len(row) == b.centroids.Cols {
		if k := b.nearest(row); k >= 0 {
			return b.residual.append(dst, row, mat.Row(b.centroids, k), byte(k+1))
		}
	}
	return b.residual.append(dst, row, nil, 0)
}

// nearest returns the number of the centroid that is nearest to a row, the lowest of equally near
// ones, or -1 for zero.
func (b *Codebook) nearest(row []float32) int {
	best, at := float32(0), -1
	for k, half := range b.half {
		if v := f32.Dot(row, mat.Row(b.centroids, k)) - half; v > best {
			best, at = v, k
		}
	}
	return at
}

// Decode reads a row.
func (b *Codebook) Decode(row []float32, src []byte) error {
	number := int(src[0])
	if number == 0 {
		b.residual.decode(row, src[1:], nil)
		return nil
	}
	if number > b.centroids.Rows || len(row) != b.centroids.Cols {
		return fmt.Errorf("lsh: centroid %d for a row of %d numbers, want at most %d of %d",
			number, len(row), b.centroids.Rows, b.centroids.Cols)
	}
	b.residual.decode(row, src[1:], mat.Row(b.centroids, number-1))
	return nil
}

// MeanError returns the error of rows that are written and read, ‖read − written‖ / ‖written‖.
func (b *Codebook) MeanError(rows blas32.General) float64 {
	var off, all float64
	got, code := make([]float32, rows.Cols), []byte(nil)
	for i := range rows.Rows {
		row := mat.Row(rows, i)
		code = b.Append(code[:0], row)
		if err := b.Decode(got, code); err != nil {
			panic(err.Error()) // it has been written here
		}
		for j, v := range row {
			d := float64(got[j]) - float64(v)
			off += float64(d * d)
			all += float64(float64(v) * float64(v))
		}
	}
	if all == 0 {
		return 0
	}
	return math.Sqrt(off / all)
}
