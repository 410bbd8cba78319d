package gemm

// reference is the definition of the product.
func reference(a, b view, how start, c view) {
	for i := range c.rows {
		for j := range c.cols {
			var sum float32
			if how == fromC {
				sum = c.from(i, j)[0]
			}
			for k := range a.cols {
				sum += float32(a.from(i, k)[0] * b.from(k, j)[0])
			}
			if how == onC {
				sum = c.from(i, j)[0] + sum
			}
			c.from(i, j)[0] = sum
		}
	}
}
