//go:build !amd64 || purego

package f32

func add(dst, x []float32)                          { addGeneric(dst, x) }
func axpy(dst []float32, a float32, x []float32)    { axpyGeneric(dst, a, x) }
func mul(dst, x, y []float32)                       { mulGeneric(dst, x, y) }
func scale(dst []float32, a float32)                { scaleGeneric(dst, a) }
func dotLanes(acc *[lanes]float32, x, y []float32)  { dotLanesGeneric(acc, x, y) }
func squares(acc *[8]float64, x []float32)          { squaresGeneric(acc, x) }
func expVec(dst, x []float32)                       { expGeneric(dst, x) }
func geluVec(dst, x []float32)                      { geluGeneric(dst, x) }
func geluGradVec(dst, x, dy []float32)              { geluGradGeneric(dst, x, dy) }
func siluVec(dst, x []float32)                      { siluGeneric(dst, x) }
func siluGradVec(dst, x, dy []float32)              { siluGradGeneric(dst, x, dy) }
func swiglu(dst, gate, up []float32)                { swigluGeneric(dst, gate, up) }
func swigluGrad(dGate, dUp, gate, up, dy []float32) { swigluGradGeneric(dGate, dUp, gate, up, dy) }
func adam(c *AdamStep, value, grad, m, v []float32) { adamGeneric(c, value, grad, m, v) }
func power(p *PowerOf, dst, x []float32)            { powerGeneric(p, dst, x) }
