package gemm

import "github.com/switchyard-moe/switchyard/internal/cpu"

// kernel computes one tile of mr×nr elements of c. Element (i, j) starts at +0, or with load at
// c[i*ldc+j], adds a[i*rs+p*cs]·b[p*bs+j] for p = 0 … k-1 in this order, each product and each sum
// rounded apart, and ends in c[i*ldc+j]. k is at least 1. An assembly kernel does not check bounds:
// call it through [kernel.tile].
type kernel struct {
	mr, nr int
	run    func(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)
	// row, where there is one, is run for n tiles of c side by side and panels of b that are step
	// apart: where k is small, calls take a sixth of the time otherwise. Call it through
	// [kernel.tiles].
	row func(n, k int, a *float32, rs, cs int, b *float32, bs, step int, c *float32, ldc int, how start)
}

// tiles runs row after checking that it stays within the slices.
func (kn *kernel) tiles(n, k int, a view, b panels, c []float32, ldc int, how start) {
	_ = a.data[(kn.mr-1)*a.rs+(k-1)*a.cs]
	_ = b.data[(n-1)*kn.nr*b.step+(k-1)*b.rs+kn.nr-1]
	_ = c[(kn.mr-1)*ldc+n*kn.nr-1]
	kn.row(n, k, &a.data[0], a.rs, a.cs, &b.data[0], b.rs, kn.nr*b.step, &c[0], ldc, how)
}

// tile runs the kernel after checking that it stays within the slices.
func (kn *kernel) tile(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool) {
	_ = a[(kn.mr-1)*rs+(k-1)*cs]
	_ = b[(k-1)*bs+kn.nr-1]
	_ = c[(kn.mr-1)*ldc+kn.nr-1]
	kn.run(k, a, rs, cs, b, bs, c, ldc, load)
}

// start is where the sums of a product begin, and what becomes of them.
type start uint8

const (
	fromZero start = iota
	fromC          // at what stands in c
	onC            // at zero; they are added to what stands in c
)

// kernels are the tiles of one width, the tallest first.
type kernels []kernel

// forRows returns the kernel for the next tile when m rows are left: the tallest one while it is
// full, then the least one that holds the rest.
func (ks kernels) forRows(m int) *kernel {
	best := 0
	for i := range ks {
		if ks[i].mr >= m {
			best = i
		}
	}
	return &ks[best]
}

// set is everything that one kind of processor runs, the widest kernels first.
type set struct {
	name      string
	needs     cpu.Features
	widths    []kernels
	transpose func(dst []float32, ld int, src view, k, n int)
	// spread16 is packRow's loop for panels of 16 columns, or nil; it does not check bounds.
	spread16 func(dst, row *float32, panels, step int)
}

// fastest returns the fastest set that this processor can run; the last one needs nothing.
func fastest() *set {
	for _, s := range sets {
		if cpu.Has(s.needs) {
			return s
		}
	}
	return &goSet
}

// forCols returns the kernels for the next columns when n are left and how many of these they do:
// whole tiles of the widest, then the narrowest that holds the rest.
func (s *set) forCols(n int) (ks kernels, cols int) {
	widest := s.widths[0][0].nr
	if n >= widest {
		return s.widths[0], n - n%widest
	}
	best := s.widths[0]
	for _, ks := range s.widths {
		if ks[0].nr >= n {
			best = ks
		}
	}
	return best, n
}
