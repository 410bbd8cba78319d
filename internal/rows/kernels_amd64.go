//go:build amd64 && !purego

package rows

import (
	"unsafe"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/cpu"
)

// The kernels work on whole blocks of blockBytes. Those that write past the caches want dst to
// stand at a multiple of alignment. Whatever next points to is only fetched, so it need not exist.
const (
	blockBytes  = 128
	blockFloats = blockBytes / 4
	alignment   = 32
)

//go:noescape
func copyAVX(dst, src, next *byte, blocks int)

//go:noescape
func scaleAVX(dst, x *float32, weight float32, nextX, nextRow *float32, blocks int)

//go:noescape
func sumAVX(dst, base *float32, at, next *[most]int, weight *[most]float32, terms, blocks int, far bool)

// fence orders what was written past the caches before whatever follows.
func fence()

func aligned(p unsafe.Pointer) bool { return uintptr(p)%alignment == 0 }

// far copies src to dst past the caches, and fetches next.
func far(dst, src, next []byte) {
	blocks := 0
	if cpu.Has(cpu.AVX2) && len(src) >= blockBytes && aligned(unsafe.Pointer(&dst[0])) {
		blocks = len(src) / blockBytes
		copyAVX(&dst[0], &src[0], &next[0], blocks)
	}
	copy(dst[blocks*blockBytes:], src[blocks*blockBytes:])
}

// scaleFar sets dst to weight times x past the caches, and fetches the two rows that are wanted
// next.
func scaleFar(dst, x []float32, weight float32, nextX, nextRow []float32) {
	blocks := 0
	if cpu.Has(cpu.AVX2) && len(x) >= blockFloats && aligned(unsafe.Pointer(&dst[0])) {
		blocks = len(x) / blockFloats
		scaleAVX(&dst[0], &x[0], weight, &nextX[0], &nextRow[0], blocks)
	}
	scaleGeneric(dst[blocks*blockFloats:], x[blocks*blockFloats:], weight)
}

// sum is one token's share of [Sum]: list names its rows, next those that are wanted next.
func sum(dst []float32, rows blas32.General, list, next []int32, weight []float32, past bool) {
	done := 0
	if n := len(list); cpu.Has(cpu.AVX2) && n > 0 && n <= most && len(dst) >= blockFloats {
		done = len(dst) &^ (blockFloats - 1)
		var at, ahead [most]int
		var w [most]float32
		for j, i := range list {
			at[j], ahead[j], w[j] = 4*rows.Stride*int(i), 4*rows.Stride*int(next[min(j, len(next)-1)]), 1
			if weight != nil {
				w[j] = weight[i]
			}
		}
		sumAVX(&dst[0], &rows.Data[0], &at, &ahead, &w, n, done/blockFloats, past && aligned(unsafe.Pointer(&dst[0])))
	}
	sumGeneric(dst, done, rows, list, weight)
}
