// Package guardpage gives tests memory beside pages that nobody may read or write, so that a kernel
// that goes past the end of a slice ends the program.
package guardpage

import (
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// Float32 returns n zeros whose end, or with before whose beginning, lies at a guard page. The
// memory is freed when the test ends. On systems other than Linux it is an ordinary slice.
func Float32(t testing.TB, n int, before bool) []float32 {
	t.Helper()
	page := syscall.Getpagesize()
	size := max(4*n+page-1, page) &^ (page - 1)
	mem, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Munmap(mem)) })
	require.NoError(t, syscall.Mprotect(mem[:page], syscall.PROT_NONE))
	require.NoError(t, syscall.Mprotect(mem[page+size:], syscall.PROT_NONE))
	at := page
	if !before {
		at += size - 4*n
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&mem[at])), n)
}
