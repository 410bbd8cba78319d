// Package shortage recognises errors of a process or machine that lacks a resource: descriptors,
// memory, buffers or disk space. A shortage may end by itself, or keep a job from starting.
package shortage

import (
	"errors"
	"syscall"
	"time"
)

// Patience is how long a shortage may last before it is reported as the cause of a failure.
const Patience = time.Second

var kinds = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.ENOSPC}

// Is reports whether err is of a resource that is short.
func Is(err error) bool {
	for _, k := range kinds {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// Watch follows repeated attempts of one operation. Its zero value is ready for use.
type Watch struct{ since time.Time }

// Lasts takes the error of the latest attempt, nil if it succeeded, and reports whether every
// attempt during the last [Patience] has failed for lack of a resource.
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
