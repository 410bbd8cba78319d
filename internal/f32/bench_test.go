package f32

import (
	"fmt"
	"testing"
)

func BenchmarkVector(b *testing.B) {
	for _, n := range []int{128, 4096} {
		x, y, z, u, v := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
		for i := range x {
			x[i] = float32(i%97)/12 - 4
			y[i], z[i] = 1-x[i], 1
		}
		for _, c := range []struct {
			name string
			run  func()
		}{
			{"add", func() { Add(z, x) }},
			{"axpy", func() { Axpy(z, 1e-9, x) }},
			{"scale", func() { Scale(z, 1) }},
			{"mul", func() { Mul(z, x, y) }},
			{"dot", func() { Dot(x, y) }},
			{"sum", func() { Sum(x) }},
			{"sumsquares", func() { SumSquares(x) }},
			{"exp", func() { Exp(z, x) }},
			{"gelu", func() { GELU(z, x) }},
			{"gelugrad", func() { GELUGrad(z, x, y) }},
			{"silu", func() { SiLU(z, x) }},
			{"swiglu", func() { SwiGLU(z, x, y) }},
			{"swiglugrad", func() { SwiGLUGrad(u, v, x, y, z) }},
			{"relu", func() { ReLU(z, x) }},
			{"relugrad", func() { ReLUGrad(z, x, y) }},
		} {
			b.Run(fmt.Sprintf("%s/n=%d", c.name, n), func(b *testing.B) {
				for b.Loop() {
					c.run()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/elem")
			})
		}
	}
}
