package transport

// Aborter is implemented by transports whose rank can end in disorder, as if its process had died,
// while the process goes on. Decorators pass it on.
type Aborter interface {
	// Abort ends this rank's part in the job: every pending and later call of every rank returns an
	// error that names this rank, and finds [ErrPeerDead] and cause, which may be nil, beneath it.
	Abort(cause error)
}

// Abort ends t in disorder if it can, else in order, by Close.
func Abort(t Transport, cause error) {
	if a, ok := t.(Aborter); ok {
		a.Abort(cause)
		return
	}
	_ = t.Close() // the cause is what the caller reports
}
