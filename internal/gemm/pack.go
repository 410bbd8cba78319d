package gemm

// packRows copies an mr×k tile of a into dst, rows below the m-th zeroed, and returns its strides.
// Rows that are contiguous stay so; their distance is such that the rows of a tile do not fall into
// one set of the cache, which they do where a's stride is a power of two.
func packRows(dst []float32, a view, m, mr, k int) (rs, cs int) {
	if a.cs == 1 {
		return packContiguous(dst, a, m, mr, k), 1
	}
	for p := range k {
		to, from := dst[p*mr:p*mr+mr], a.data[p*a.cs:p*a.cs+m]
		copy(to, from)
		clear(to[m:])
	}
	return 1, mr
}

// rowGap is the least number of elements between the rows of a packed tile.
const rowGap = 16

func packContiguous(dst []float32, a view, m, mr, k int) (rs int) {
	rs = k + rowGap
	for i := range m {
		copy(dst[i*rs:i*rs+k], a.data[i*a.rs:i*a.rs+k])
	}
	for i := m; i < mr; i++ {
		clear(dst[i*rs : i*rs+k])
	}
	return rs
}

// packCols copies k rows of n columns of b into dst as panels of nr columns, one after the other,
// each with its k rows one after the other. The last panel is filled up with zeros.
func (s *set) packCols(dst []float32, b view, k, n, nr int) {
	if n%nr != 0 {
		clear(dst[n/nr*nr*k:][:nr*k])
	}
	if b.cs != 1 {
		for j := 0; j < n; j += nr {
			s.transpose(dst[j*k:(j+nr)*k], nr, b.at(0, j), k, min(nr, n-j))
		}
		return
	}
	for p := range k { // b row by row, as memory is read fastest
		s.packRow(dst[p*nr:], b.data[p*b.rs:p*b.rs+n], k, nr)
	}
}

// packRow copies a row of b to dst, the next nr elements always nr*k further on.
func (s *set) packRow(dst, row []float32, k, nr int) {
	if whole := len(row) / nr; whole > 0 && nr == 16 && s.spread16 != nil {
		_ = dst[(whole-1)*nr*k+nr-1]
		s.spread16(&dst[0], &row[0], whole, nr*k)
		if row = row[whole*nr:]; len(row) == 0 {
			return
		}
		dst = dst[whole*nr*k:]
	}
	for ; len(row) > nr; row = row[nr:] {
		copy(dst, row[:nr])
		dst = dst[nr*k:]
	}
	copy(dst, row)
}

// at returns the view from element (i, j) on.
func (v view) at(i, j int) view {
	v.data = v.from(i, j)
	return v
}
