package gemm

// reference is the definition of the product.
func reference(a, b view, load bool, c view) {
	for i := range c.rows {
		for j := range c.cols {
			var sum float32
			if load {
				sum = c.from(i, j)[0]
			}
			for k := range a.cols {
				sum += float32(a.from(i, k)[0] * b.from(k, j)[0])
			}
			c.from(i, j)[0] = sum
		}
	}
}
