package lifecycle

import "sync"

// Turn has a layer compute in turn with others. A nil Turn, and one without a lock, does not wait.
type Turn struct {
	// Lock is held by the one that computes.
	Lock sync.Locker
}

// Do runs do, in turn if there is a lock.
func (t *Turn) Do(do func()) {
	if t != nil && t.Lock != nil {
		t.Lock.Lock()
		defer t.Lock.Unlock()
	}
	do()
}
