package mpi

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/switchyard-moe/switchyard/transport/internal/arena"
)

// largePage is what Linux calls a transparent huge page, on amd64 and on arm64 with pages of 4 KiB.
const largePage = 2 << 20

// newArena reserves n bytes in large pages, if the system has some. They take memory only once they
// are used. The result is nil if the system refuses.
func newArena(n int) *arena.Arena {
	n = (n + largePage - 1) &^ (largePage - 1)
	if n == 0 {
		return nil
	}
	memory, err := unix.MmapPtr(-1, 0, nil, uintptr(n+largePage), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil
	}
	before := -uintptr(memory) & (largePage - 1)
	at := unsafe.Add(memory, before)
	if before > 0 {
		_ = unix.MunmapPtr(memory, before)
	}
	_ = unix.MunmapPtr(unsafe.Add(at, n), largePage-before)
	whole := unsafe.Slice((*byte)(at), n)
	_ = unix.Madvise(whole, unix.MADV_HUGEPAGE)
	return arena.Over(whole)
}

// giveBack frees the memory of an arena that has been closed.
func giveBack(memory []byte) {
	_ = unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(memory)), uintptr(len(memory)))
}
