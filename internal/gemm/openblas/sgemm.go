//go:build openblas

package openblas

// #cgo LDFLAGS: -lopenblas
// #include <cblas.h>
// void openblas_set_num_threads(int);
import "C"

import (
	"sync"
	"unsafe"

	"gonum.org/v1/gonum/blas"
)

// oneThread keeps OpenBLAS from starting threads: its callers are already as many as there are
// cores.
var oneThread = sync.OnceFunc(func() { C.openblas_set_num_threads(1) })

// Sgemm computes c = alpha·a·b + beta·c for row-major matrices on one thread, a of m×k and b of k×n
// after transposition; see gonum's blas.Float32Level3 for the arguments. It does not check them.
func Sgemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int,
	b []float32, ldb int, beta float32, c []float32, ldc int) {
	oneThread()
	C.cblas_sgemm(C.CblasRowMajor, transpose(tA), transpose(tB), C.blasint(m), C.blasint(n), C.blasint(k),
		C.float(alpha), pointer(a), C.blasint(lda), pointer(b), C.blasint(ldb),
		C.float(beta), pointer(c), C.blasint(ldc))
}

func pointer(x []float32) *C.float { return (*C.float)(unsafe.Pointer(unsafe.SliceData(x))) }

func transpose(t blas.Transpose) C.enum_CBLAS_TRANSPOSE {
	if t == blas.NoTrans {
		return C.CblasNoTrans
	}
	return C.CblasTrans
}
