// Package freelist keeps values that have served for others that need the same memory.
package freelist

import "sync"

// List is values that wait to be used again. The zero value is empty. Any goroutine may call its
// methods at any time.
type List[T any] struct {
	mu   sync.Mutex
	free []*T
}

// Take returns the value that was given last, whose memory may still be in a cache, or nil if none
// waits.
func (l *List[T]) Take() *T {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.free) - 1
	if last < 0 {
		return nil
	}
	v := l.free[last]
	l.free[last], l.free = nil, l.free[:last]
	return v
}

// Give gives v, which the caller must not use any more.
func (l *List[T]) Give(v *T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, v)
}
