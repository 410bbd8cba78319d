// Package fence gives tests memory beside which nothing can be read or written.
package fence

import (
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// Float32 returns n zeros in a slice that ends where a page begins that must not be touched, or
// with before, that begins where such a page ends. Touching it ends the program. The memory goes
// with the test. On other systems than Linux it is an ordinary slice.
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
