//go:build linux && !purego

package shmlane

import (
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// granule is what allocations are rounded up to: a page, so that none shares one with another.
const granule = 4096

// Arena is memory of one rank that its peers can read in place.
type Arena struct {
	fd     int
	memory []byte

	mu   sync.Mutex
	free []span         // in order of place; no two touch
	used map[uint64]int // bytes of each allocation by its place
}

// span is a piece of an arena that is not in use.
type span struct{ at, end uint64 }

// NewArena reserves size bytes, rounded up to whole pages. They take memory only once they are used, and keep it until
// Close.
func NewArena(size int) (*Arena, error) {
	size = roundUp(size)
	fd, memory, err := create(size, arenaSeals)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(memory, unix.MADV_HUGEPAGE) // where the system lets it
	return &Arena{fd: fd, memory: memory, free: []span{{0, uint64(size)}}, used: make(map[uint64]int)}, nil
}

func roundUp(n int) int { return (n + granule - 1) &^ (granule - 1) }

// Alloc returns n bytes of whatever content, or nil where there is no room for them in one piece.
func (a *Arena) Alloc(n int) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n <= 0 || n > len(a.memory) {
		return nil
	}
	need := uint64(roundUp(n))
	for i := range a.free {
		s := &a.free[i]
		if s.end-s.at < need {
			continue
		}
		at := s.at
		if s.at += need; s.at == s.end {
			a.free = slices.Delete(a.free, i, i+1)
		}
		a.used[at] = int(need)
		return a.memory[at : at+uint64(n) : at+uint64(n)]
	}
	return nil
}

// Free takes back what Alloc has returned, and reports whether b was that.
func (a *Arena) Free(b []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.offset(b)
	if !ok {
		return false
	}
	n, ok := a.used[at]
	if !ok {
		return false
	}
	delete(a.used, at)
	a.giveBack(span{at, at + uint64(n)})
	return true
}

// giveBack adds s to the free spans, joined with those that it touches.
func (a *Arena) giveBack(s span) {
	i, _ := slices.BinarySearchFunc(a.free, s.at, func(f span, at uint64) int {
		if f.at < at {
			return -1
		}
		return 1
	})
	if i < len(a.free) && a.free[i].at == s.end {
		s.end = a.free[i].end
		a.free = slices.Delete(a.free, i, i+1)
	}
	if i > 0 && a.free[i-1].end == s.at {
		a.free[i-1].end = s.end
		return
	}
	a.free = slices.Insert(a.free, i, s)
}

// offset is where b lies in the arena, if it does, whole.
func (a *Arena) offset(b []byte) (uint64, bool) {
	base := uintptr(unsafe.Pointer(unsafe.SliceData(a.memory)))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	if at < base || at-base > uintptr(len(a.memory)) || uintptr(len(b)) > uintptr(len(a.memory))-(at-base) {
		return 0, false
	}
	return uint64(at - base), true
}

// Close frees the arena. Where something of it is still in use, the memory stays until the process ends: whoever holds
// it could otherwise crash.
func (a *Arena) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	closeAll(a.fd)
	if len(a.used) == 0 {
		_ = unix.Munmap(a.memory)
	}
	a.fd, a.memory, a.free = -1, nil, nil
}
