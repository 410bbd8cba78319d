// Package shortage knows the errors that say that a process or its machine is short of something:
// descriptors, memory, buffers or room. They may pass, or they may be what keeps a job from
// starting.
package shortage

import (
	"errors"
	"syscall"
	"time"
)

// Patience is how long a shortage may last before it is stated as the cause.
const Patience = time.Second

var kinds = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.ENOSPC}

// Is reports whether err says that something is short.
func Is(err error) bool {
	for _, k := range kinds {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// Watch follows the attempts of one undertaking. Its zero value is ready.
type Watch struct{ since time.Time }

// Lasts takes the error of the latest attempt, nil where there was none, and reports whether every
// attempt for [Patience] has found something short.
func (w *Watch) Lasts(err error) bool {
	if !Is(err) {
		w.since = time.Time{}
		return false
	}
	if w.since.IsZero() {
		w.since = time.Now()
	}
	return time.Since(w.since) > Patience
}
