//go:build !amd64 || purego

package moments

func codes4([]byte, []float32, []float32) int { return 0 }

func values4([]float32, []byte, *[16]float32) int { return 0 }

func leastBits([]float32) (least uint32, n int) { return 1<<32 - 1, 0 }
