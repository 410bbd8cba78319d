//go:build !amd64 || purego

package hadamard

func transform(dst, src []float32, signs []uint32) { transformGeneric(dst, src, signs) }

func halve(dst, src []float32, signs []uint32, _ int) int {
	halveGeneric(dst[:len(src)/2], src, signs)
	return len(src) / 2
}

func plain(x []float32) { plainGeneric(x) }

// Prefetch asks the memory for x, which is about to be read; nothing waits for it.
func Prefetch(x []float32) {}

func blocks(x []float32) { blocksGeneric(x) }
