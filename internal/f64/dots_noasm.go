//go:build !amd64 || purego

package f64

func dots(sums *[4]Lanes, x, y0, y1, y2, y3 []float64) { dotsGeneric(sums, x, y0, y1, y2, y3) }
