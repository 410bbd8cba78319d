//go:build amd64 && !purego

package f32

import "github.com/switchyard-moe/switchyard/internal/cpu"

// The kernels in assembly do what the function of the same name with Generic does, for the whole
// blocks of eight elements, or of lanes; the wrappers below leave the rest to that function.

//go:noescape
func addAVX2(dst, x []float32)

//go:noescape
func mulAVX2(dst, x, y []float32)

//go:noescape
func axpyAVX2(dst, x []float32, a float32)

//go:noescape
func scaleAVX2(dst []float32, a float32)

//go:noescape
func dotAVX2(acc *[lanes]float32, x, y []float32)

//go:noescape
func sumSquaresAVX2(acc *[8]float64, x []float32)

//go:noescape
func expAVX2(dst, x []float32, table *eight[float32])

//go:noescape
func geluAVX2(dst, x []float32, table *eight[float32])

//go:noescape
func geluGradAVX2(dst, x, dy []float32, table *eight[float32])

//go:noescape
func siluAVX2(dst, x []float32, table *eight[float32])

//go:noescape
func siluGradAVX2(dst, x, dy []float32, table *eight[float32])

//go:noescape
func swigluAVX2(dst, gate, up []float32, table *eight[float32])

//go:noescape
func swigluGradAVX2(dGate, dUp, gate, up, dy []float32, table *eight[float32])

//go:noescape
func adamAVX2(c *AdamStep, value, grad, m, v []float32)

// whole returns how many of n elements the assembly does: none on a processor without AVX2, where
// it must not even be called.
func whole(n int) int {
	if !cpu.Has(cpu.AVX2) {
		return 0
	}
	return n &^ 7
}

func add(dst, x []float32) {
	n := whole(len(dst))
	if n > 0 {
		addAVX2(dst[:n], x[:n])
	}
	addGeneric(dst[n:], x[n:])
}

func mul(dst, x, y []float32) {
	n := whole(len(dst))
	if n > 0 {
		mulAVX2(dst[:n], x[:n], y[:n])
	}
	mulGeneric(dst[n:], x[n:], y[n:])
}

func axpy(dst []float32, a float32, x []float32) {
	n := whole(len(dst))
	if n > 0 {
		axpyAVX2(dst[:n], x[:n], a)
	}
	axpyGeneric(dst[n:], a, x[n:])
}

func scale(dst []float32, a float32) {
	n := whole(len(dst))
	if n > 0 {
		scaleAVX2(dst[:n], a)
	}
	scaleGeneric(dst[n:], a)
}

func dotLanes(acc *[lanes]float32, x, y []float32) {
	if !cpu.Has(cpu.AVX2) {
		dotLanesGeneric(acc, x, y)
		return
	}
	dotAVX2(acc, x, y)
}

func squares(acc *[8]float64, x []float32) {
	if !cpu.Has(cpu.AVX2) {
		squaresGeneric(acc, x)
		return
	}
	sumSquaresAVX2(acc, x)
}

func expVec(dst, x []float32) {
	n := whole(len(dst))
	if n > 0 {
		expAVX2(dst[:n], x[:n], &table.f[0])
	}
	expGeneric(dst[n:], x[n:])
}

func geluVec(dst, x []float32) {
	n := whole(len(dst))
	if n > 0 {
		geluAVX2(dst[:n], x[:n], &table.f[0])
	}
	geluGeneric(dst[n:], x[n:])
}

func geluGradVec(dst, x, dy []float32) {
	n := whole(len(dst))
	if n > 0 {
		geluGradAVX2(dst[:n], x[:n], dy[:n], &table.f[0])
	}
	geluGradGeneric(dst[n:], x[n:], dy[n:])
}

func siluVec(dst, x []float32) {
	n := whole(len(dst))
	if n > 0 {
		siluAVX2(dst[:n], x[:n], &table.f[0])
	}
	siluGeneric(dst[n:], x[n:])
}

func siluGradVec(dst, x, dy []float32) {
	n := whole(len(dst))
	if n > 0 {
		siluGradAVX2(dst[:n], x[:n], dy[:n], &table.f[0])
	}
	siluGradGeneric(dst[n:], x[n:], dy[n:])
}

func swiglu(dst, gate, up []float32) {
	n := whole(len(dst))
	if n > 0 {
		swigluAVX2(dst[:n], gate[:n], up[:n], &table.f[0])
	}
	swigluGeneric(dst[n:], gate[n:], up[n:])
}

func swigluGrad(dGate, dUp, gate, up, dy []float32) {
	n := whole(len(gate))
	if n > 0 {
		swigluGradAVX2(dGate[:n], dUp[:n], gate[:n], up[:n], dy[:n], &table.f[0])
	}
	swigluGradGeneric(dGate[n:], dUp[n:], gate[n:], up[n:], dy[n:])
}

func adam(c *AdamStep, value, grad, m, v []float32) {
	n := whole(len(value))
	if n > 0 {
		adamAVX2(c, value[:n], grad[:n], m[:n], v[:n])
	}
	adamGeneric(c, value[n:], grad[n:], m[n:], v[n:])
}
