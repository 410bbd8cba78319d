package gemm

// goSet is the set for every processor. Its tile is what fits into sixteen scalar registers.
var goSet = set{
	name:      "go",
	widths:    []kernels{{{mr: 2, nr: 4, run: tile2x4}, {mr: 1, nr: 4, run: tile1x4}}},
	transpose: transposeGo,
}

func tile2x4(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool) {
	var c00, c01, c02, c03, c10, c11, c12, c13 float32
	u, v := (*[4]float32)(c), (*[4]float32)(c[ldc:])
	if load {
		c00, c01, c02, c03 = u[0], u[1], u[2], u[3]
		c10, c11, c12, c13 = v[0], v[1], v[2], v[3]
	}
	for p := range k {
		w := (*[4]float32)(b[p*bs:])
		x, y := a[p*cs], a[p*cs+rs]
		c00 += float32(x * w[0])
		c01 += float32(x * w[1])
		c02 += float32(x * w[2])
		c03 += float32(x * w[3])
		c10 += float32(y * w[0])
		c11 += float32(y * w[1])
		c12 += float32(y * w[2])
		c13 += float32(y * w[3])
	}
	u[0], u[1], u[2], u[3] = c00, c01, c02, c03
	v[0], v[1], v[2], v[3] = c10, c11, c12, c13
}

func tile1x4(k int, a []float32, _, cs int, b []float32, bs int, c []float32, _ int, load bool) {
	var c0, c1, c2, c3 float32
	u := (*[4]float32)(c)
	if load {
		c0, c1, c2, c3 = u[0], u[1], u[2], u[3]
	}
	for p := range k {
		w, x := (*[4]float32)(b[p*bs:]), a[p*cs]
		c0 += float32(x * w[0])
		c1 += float32(x * w[1])
		c2 += float32(x * w[2])
		c3 += float32(x * w[3])
	}
	u[0], u[1], u[2], u[3] = c0, c1, c2, c3
}

// transposeGo copies the k×n matrix src, whose rs is 1, into dst, whose rows are ld apart.
func transposeGo(dst []float32, ld int, src view, k, n int) {
	for j := range n {
		for p, v := range src.data[j*src.cs : j*src.cs+k] {
			dst[p*ld+j] = v
		}
	}
}
