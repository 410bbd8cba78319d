package gemm

import "sync"

// Depth and width of the block of b that is packed at a time: it stays in the second-level cache
// (384 KiB) while tiles of a pass by, and a tile of a (12 KiB) stays in the first-level cache while
// the block's panels pass by.
const (
	blockDepth = 256
	blockWidth = 384
)

// maxRows and maxCols bound the tiles of all kernels.
const (
	maxRows = 12
	maxCols = 32
)

// workspace is the memory of one product in progress.
type workspace struct {
	rows [maxRows * (blockDepth + rowGap)]float32
	cols [blockDepth * blockWidth]float32
	edge [maxRows * maxCols]float32
}

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

// product is a product in progress.
type product struct {
	*set
	*workspace
	a, b, c view
	how     start
}

// multiply computes c = a·b, or adds that to c, for dimensions of at least 1; with onC for a depth
// of at most blockDepth.
func (s *set) multiply(a, b view, how start, c view) {
	w := workspaces.Get().(*workspace)
	p := product{set: s, workspace: w, a: a, b: b, c: c, how: how}
	for j := 0; j < c.cols; {
		ks, n := s.forCols(c.cols - j)
		p.columns(ks, j, n)
		j += n
	}
	workspaces.Put(w)
}

// columns computes n columns of c from the j-th on.
func (p *product) columns(ks kernels, j, n int) {
	depth := p.a.cols
	how := p.how
	for k0 := 0; k0 < depth; k0 += blockDepth {
		k := min(blockDepth, depth-k0)
		for j0 := 0; j0 < n; j0 += blockWidth {
			p.block(ks, k0, k, j+j0, min(blockWidth, n-j0), how)
		}
		how = fromC // the sums so far stand in c
	}
}

// block adds to n columns of c, from the j-th on, the products of k columns of a and rows of b,
// from the k0-th on.
func (p *product) block(ks kernels, k0, k, j, n int, how start) {
	cols := p.packB(ks, p.b.at(k0, j), k, n)
	for i := 0; i < p.c.rows; {
		kn := ks.forRows(p.c.rows - i)
		m := min(kn.mr, p.c.rows-i)
		rows := p.packA(kn, p.a.at(i, k0), m, k, n)
		q := 0
		if whole := n / kn.nr; kn.row != nil && m == kn.mr && whole > 0 {
			kn.tiles(whole, k, rows, cols, p.c.from(i, j), p.c.rs, how)
			q = whole * kn.nr
		}
		for ; q < n; q += kn.nr {
			b := view{data: cols.data[q*cols.step:], rs: cols.rs, cs: 1}
			p.tile(kn, k, rows, b, p.c.from(i, j+q), m, min(kn.nr, n-q), how)
		}
		i += m
	}
}

// panels is a block of b as a kernel reads it: the panel of columns from the q-th on begins at
// data[q*step], its rows are rs apart.
type panels struct {
	data     []float32
	step, rs int
}

// packB packs a block of b, or leaves it where it is if too few rows will read it to repay that.
func (p *product) packB(ks kernels, b view, k, n int) panels {
	nr := ks[0].nr
	if b.cs == 1 && n%nr == 0 && p.c.rows <= 2*ks[0].mr {
		return panels{b.data, 1, b.rs}
	}
	p.packCols(p.cols[:], b, k, n, nr)
	return panels{p.cols[:], k, nr}
}

// packA packs a tile of a, or leaves it where it is if too few panels will read it to repay that.
func (p *product) packA(kn *kernel, a view, m, k, n int) view {
	if m == kn.mr && n <= 2*kn.nr {
		return a
	}
	rs, cs := packRows(p.rows[:], a, m, kn.mr, k)
	return view{data: p.rows[:], rs: rs, cs: cs}
}

// tile computes one tile of m×n elements. A kernel writes whole tiles, so one at the edge, and one
// that is added, goes through memory of its own.
func (p *product) tile(kn *kernel, k int, a, b view, c []float32, m, n int, how start) {
	if m == kn.mr && n == kn.nr && how != onC {
		kn.tile(k, a.data, a.rs, a.cs, b.data, b.rs, c, p.c.rs, how == fromC)
		return
	}
	t, ld := p.edge[:], kn.nr
	if how == fromC {
		copyTile(t, ld, c, p.c.rs, m, n)
	}
	kn.tile(k, a.data, a.rs, a.cs, b.data, b.rs, t, ld, how == fromC)
	if how == onC {
		addTile(c, p.c.rs, t, ld, m, n)
		return
	}
	copyTile(c, p.c.rs, t, ld, m, n)
}

func addTile(dst []float32, ldDst int, src []float32, ldSrc int, m, n int) {
	for i := range m {
		to := dst[i*ldDst : i*ldDst+n]
		for j, v := range src[i*ldSrc : i*ldSrc+n] {
			to[j] += v
		}
	}
}

func copyTile(dst []float32, ldDst int, src []float32, ldSrc int, m, n int) {
	for i := range m {
		copy(dst[i*ldDst:i*ldDst+n], src[i*ldSrc:i*ldSrc+n])
	}
}
