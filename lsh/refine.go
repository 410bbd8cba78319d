package lsh

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/centroid"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// refiner is the memory of Lloyd iterations.
type refiner struct {
	means, scores mat.Buffer
	mean          []float32
	threshold     []float32 // by centroid
	size          []int32   // of clusters
	all           []int32
}

// tile is the number of rows whose distances are found at once.
const tile = 256

// refine moves each row of x to the cluster, of n, whose centroid is nearest, or the lowest of
// equally near ones, and repeats that the given number of times. The last row of a cluster stays.
func (r *refiner) refine(x blas32.General, of []int32, n, times int) {
	for range times {
		c := r.average(x, of, n)
		for begin := 0; begin < x.Rows; begin += tile {
			end := min(begin+tile, x.Rows)
			s := r.scores.Matrix(end-begin, n)
			gemm.Gemm(blas.NoTrans, blas.Trans, mat.Rows(x, begin, end), c, 0, s)
			r.move(s, of[begin:end])
		}
	}
}

// average returns the centroids, measured from the mean of all rows, and sets what a row's product
// with one must be compared to: x is nearest to the centroid c with the largest x·(c−μ) − μ·(c−μ) −
// |c−μ|²/2.
func (r *refiner) average(x blas32.General, of []int32, n int) blas32.General {
	r.all = mat.Reuse(r.all, x.Rows)
	r.mean = mat.Reuse(r.mean, x.Cols)
	r.threshold = mat.Reuse(r.threshold, n)
	r.size = mat.Reuse(r.size, n)
	for i := range r.all {
		r.all[i] = int32(i)
	}
	centroid.Sum(r.mean, x.Data, x.Stride, r.all, 1/float32(x.Rows))
	clear(r.size)
	c := r.means.Matrix(n, x.Cols)
	clear(c.Data)
	for i, k := range of {
		r.size[k]++
		f32.Add(mat.Row(c, int(k)), mat.Row(x, i))
	}
	for k := range n {
		v := mat.Row(c, k)
		f32.Scale(v, 1/float32(r.size[k]))
		centroid.Residual(v, 1, v, r.mean)
		r.threshold[k] = f32.Dot(r.mean, v) + f32.Dot(v, v)/2
	}
	return c
}

// move moves the rows that s has the products of.
func (r *refiner) move(s blas32.General, of []int32) {
	for i, from := range of {
		v := mat.Row(s, i)
		to := int32(0)
		for k, t := range r.threshold {
			v[k] -= t
			if v[k] > v[to] {
				to = int32(k)
			}
		}
		if to != from && r.size[from] > 1 && v[to] > v[from] {
			r.size[from]--
			r.size[to]++
			of[i] = to
		}
	}
}
