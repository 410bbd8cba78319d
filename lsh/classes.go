package lsh

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Rows of one row group are compressed together if their lengths are alike. A row that is far
// longer than the others would dominate their mean, their centroid and the kernel's width, so the
// group is divided into classes of lengths, each of which is compressed as a group of its own:
//
//   - a row that is not finite is a cluster of its own;
//   - rows longer than longFactor times the median are each a cluster of their own if they are no
//     more than few, or no more than the clusters that the rate gives the whole class; otherwise
//     they are a class, which is divided in the same way;
//   - rows shorter than the median over shortFactor are a class, which is divided in the same way.
//
// The median is that of the rows that are not zero. The remaining rows have the clusters, to the
// bit, that they would have without the others.
const (
	longFactor  = 8
	few         = 8
	shortFactor = 64
)

// Lengths within these bounds have squares that are far from the limits of float32. Classes outside
// of them are scaled by a power of two.
const (
	shortest = 0x1p-30
	longest  = 0x1p30
)

// classes divides the rows of a row group.
type classes struct {
	length  []float64
	list    [][]int32 // the rows of each class, ascending
	apart   []int32   // rows that are clusters of their own
	all     []int32   // the others
	sorted  []float64
	of      []int32 // clusters within a class
	compact mat.Buffer
}

// divide finds the classes of x. It returns false if all rows are one class that needs no scaling,
// which is the usual case.
func (c *classes) divide(x blas32.General, cfg *Config) bool {
	c.length = mat.Reuse(c.length, x.Rows)
	low, high := math.Inf(1), 0.0
	for i := range c.length {
		l := lengthOf(mat.Row(x, i))
		c.length[i] = l
		if !(l <= math.MaxFloat64) { // NaN too
			high = math.Inf(1)
			continue
		}
		low, high = min(low, l), max(high, l)
	}
	if high <= longFactor*low && low >= shortest && high <= longest || x.Rows == 0 {
		return false
	}
	c.list, c.apart, c.all = c.list[:0], c.apart[:0], c.all[:0]
	for i, l := range c.length {
		if l <= math.MaxFloat64 {
			c.all = append(c.all, int32(i))
			continue
		}
		c.apart = append(c.apart, int32(i))
	}
	if m := c.median(c.all); len(c.apart) == 0 && high <= longFactor*m && low >= m/shortFactor && scaleOf(high) == 1 {
		return false
	}
	c.add(c.all, cfg)
	return true
}

// add divides rows, if there are any, and appends their classes.
func (c *classes) add(rows []int32, cfg *Config) {
	if len(rows) == 0 {
		return
	}
	m := c.median(rows)
	var long, normal, short []int32
	for _, r := range rows {
		switch l := c.length[r]; {
		case l > longFactor*m:
			long = append(long, r)
		case l < m/shortFactor:
			short = append(short, r)
		default:
			normal = append(normal, r)
		}
	}
	c.list = append(c.list, normal)
	if len(long) <= max(few, cfg.Centroids(len(rows))) {
		c.apart = append(c.apart, long...)
		long = nil
	}
	c.add(long, cfg)
	c.add(short, cfg)
}

// median returns the median of the lengths of rows, zeros left out, or 0 if all are zero.
func (c *classes) median(rows []int32) float64 {
	c.sorted = c.sorted[:0]
	for _, r := range rows {
		if l := c.length[r]; l > 0 {
			c.sorted = append(c.sorted, l)
		}
	}
	if len(c.sorted) == 0 {
		return 0
	}
	slices.Sort(c.sorted)
	return c.sorted[(len(c.sorted)-1)/2]
}

// scale returns the power of two by which the rows of a class are multiplied before they are
// compared.
func (c *classes) scale(rows []int32) float32 {
	high := 0.0
	for _, r := range rows {
		high = max(high, c.length[r])
	}
	return scaleOf(high)
}

// scaleOf returns the power of two that brings a length near 1 if float32 cannot hold its square,
// else 1.
func scaleOf(length float64) float32 {
	if length == 0 || length >= shortest && length <= longest {
		return 1
	}
	_, exponent := math.Frexp(length)
	return float32(math.Ldexp(1, min(max(-exponent, -126), 126)))
}

// gather copies the rows of a class, scaled, into one matrix.
func (c *classes) gather(x blas32.General, rows []int32) blas32.General {
	m, scale := c.compact.Matrix(len(rows), x.Cols), c.scale(rows)
	for i, r := range rows {
		copy(mat.Row(m, i), mat.Row(x, int(r)))
	}
	if scale != 1 {
		f32.Scale(m.Data, scale)
	}
	return m
}

// lengthOf returns the length of a row, NaN or infinity for one that is not finite.
func lengthOf(v []float32) float64 {
	const least, most = 1e-20, 1e20
	if square := f32.Dot(v, v); square > least && square < most {
		return math.Sqrt(float64(square))
	}
	square := 0.0
	for _, x := range v {
		square += float64(float64(x) * float64(x))
	}
	return math.Sqrt(square)
}
