package gemm

import (
	"testing"
	"time"

	"gonum.org/v1/gonum/blas"
)

func least(f func()) float64 {
	best := time.Hour
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
		t := time.Now()
		f()
		best = min(best, time.Since(t))
	}
	return float64(best.Nanoseconds())
}

func TestPeak(t *testing.T) {
	for _, s := range sets() {
		for _, ks := range s.widths {
			for _, kn := range ks {
				x := make([]float32, 12*300)
				y := make([]float32, 256*32)
				z := make([]float32, 12*32)
				ns := least(func() {
					for range 20 {
						kn.tile(256, x, 272, 1, y, kn.nr, z, kn.nr, false)
					}
				})
				t.Logf("%s %dx%d %.1f GF", s.name, kn.mr, kn.nr, 20*512*float64(kn.mr*kn.nr)/ns)
			}
		}
	}
}

func TestLeast(t *testing.T) {
	r := seeded(t)
	for _, s := range shapes {
		x, y := operand(r, s.tA, s.m, s.k, 0), operand(r, s.tB, s.k, s.n, 0)
		z := matrix(r, s.m, s.n, 0)
		line := ""
		_ = line
		var gf []float64
		for _, set := range sets() {
			ns := least(func() {
				set.multiply(viewOf(s.tA, x, "x"), viewOf(s.tB, y, "y"), false, viewOf(blas.NoTrans, z, "z"))
			})
			gf = append(gf, 2*float64(s.m*s.k*s.n)/ns)
		}
		t.Logf("%4d %4d %4d %c%c %5.1f", s.m, s.k, s.n, s.tA, s.tB, gf)
	}
}
