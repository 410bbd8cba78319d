package lockstep

import (
	"bytes"
	"runtime"
	"strconv"
)

// callers are the goroutines that have begun operations, by their numbers, which the runtime never
// uses again. As long as another one than the caller of the open operation lives, it may be about
// to begin the operation that a peer waits for.
type callers map[uint64]struct{}

const (
	// maxCallers bounds the remembered callers. A rank with more at once counts as concurrent.
	maxCallers = 64
	// maxDump bounds the list of goroutines that is read.
	maxDump = 16 << 20
)

// add notes a caller, and reports whether there is room for more.
func (c callers) add(id uint64) bool {
	c[id] = struct{}{}
	if len(c) >= maxCallers {
		c.forgetDead()
	}
	return len(c) < maxCallers
}

// only reports whether no caller but this one lives.
func (c callers) only(id uint64) bool {
	if len(c) > 1 {
		c.forgetDead()
	}
	_, known := c[id]
	return known && len(c) == 1
}

// forgetDead removes the callers that have ended, if the list of goroutines can be read.
func (c callers) forgetDead() {
	living, ok := goroutines()
	if !ok {
		return
	}
	for id := range c {
		if !living[id] {
			delete(c, id)
		}
	}
}

// goroutine returns the number of the calling goroutine.
func goroutine() (id uint64, ok bool) {
	var b [64]byte
	return numberIn(b[:runtime.Stack(b[:], false)])
}

// goroutines returns the numbers of all goroutines. It is expensive, and only used before an error.
func goroutines() (living map[uint64]bool, ok bool) {
	for size := 64 << 10; size <= maxDump; size *= 4 {
		dump := make([]byte, size)
		n := runtime.Stack(dump, true)
		if n == size {
			continue
		}
		living = map[uint64]bool{}
		for line := range bytes.Lines(dump[:n]) {
			if id, ok := numberIn(line); ok {
				living[id] = true
			}
		}
		return living, true
	}
	return nil, false
}

// numberIn parses the first line of a goroutine's stack: "goroutine 17 [running]:".
func numberIn(line []byte) (id uint64, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("goroutine "))
	if !ok {
		return 0, false
	}
	number, _, _ := bytes.Cut(rest, []byte(" "))
	id, err := strconv.ParseUint(string(number), 10, 64)
	return id, err == nil
}
