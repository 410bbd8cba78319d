// Package arena hands out pieces of one region of memory that is not Go's.
package arena

import (
	"math"
	"slices"
	"sync"
	"unsafe"
)

// Granule is what allocations are rounded up to: a page, so that none shares one with another.
const Granule = 4096

const (
	// DefaultBytes is how large transports make an arena unless told otherwise, in bytes of address
	// space: 16 GiB, or 16 MiB where an int has 32 bits.
	DefaultBytes = min(16<<30, math.MaxInt/128+1)
	// MaxBytes bounds an arena.
	MaxBytes = min(1<<40, math.MaxInt)
)

// Arena hands out pieces of one region, the lowest that is wide enough first. Its methods may be
// called from several goroutines at once.
type Arena struct {
	mu     sync.Mutex
	memory []byte
	free   []span         // in order of place; no two touch
	used   map[uint64]int // bytes of each allocation by its place
}

// span is a piece of an arena that is not in use.
type span struct{ at, end uint64 }

// Over returns an arena of memory, which is a whole number of granules and remains the caller's to
// give back.
func Over(memory []byte) *Arena {
	return &Arena{memory: memory, free: []span{{0, uint64(len(memory))}}, used: make(map[uint64]int)}
}

// RoundUp is the least whole number of granules that holds n bytes.
func RoundUp(n int) int { return (n + Granule - 1) &^ (Granule - 1) }

// Alloc returns n bytes of whatever content, or nil where there is no room for them in one piece.
func (a *Arena) Alloc(n int) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n <= 0 || n > len(a.memory) {
		return nil
	}
	need := uint64(RoundUp(n))
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
	at, ok := a.Offset(b)
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

// Offset is where b lies in the arena, if it does, whole.
func (a *Arena) Offset(b []byte) (uint64, bool) {
	base := uintptr(unsafe.Pointer(unsafe.SliceData(a.memory)))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	if at < base || at-base > uintptr(len(a.memory)) || uintptr(len(b)) > uintptr(len(a.memory))-(at-base) {
		return 0, false
	}
	return uint64(at - base), true
}

// Len is the number of bytes there are, in use or not.
func (a *Arena) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.memory)
}

// Close ends the arena, and returns its memory if nothing of it is in use any more. Otherwise it
// stays mapped, because the holder of a piece would crash without it.
func (a *Arena) Close() (memory []byte, unused bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	memory, unused = a.memory, len(a.used) == 0
	a.memory, a.free = nil, nil
	if !unused {
		return nil, false
	}
	return memory, true
}
