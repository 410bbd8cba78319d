package transport

// Allocator is the power of a transport to hand out memory that peers on the same machine read in
// place: a message that lies in it, in however many pieces, is copied once, from there into the
// receiver's buffers, instead of twice. It makes no other difference: such memory is sent to any
// peer, received into and used like any other.
type Allocator interface {
	// Alloc returns n bytes of whatever content, or nil if there is no room for them. They are the
	// caller's until Free or Close, whichever is first.
	Alloc(n int) []byte
	// Free gives back a slice that Alloc returned, and reports whether it was one. No operation may
	// be using it.
	Free(b []byte) bool
}

// Alloc returns n bytes from t's own memory if t offers some, else from Go's. [Free] takes them
// back.
func Alloc(t Transport, n int) []byte {
	if a, ok := t.(Allocator); ok {
		if b := a.Alloc(n); b != nil {
			return b
		}
	}
	return make([]byte, n)
}

// Free gives back what [Alloc] returned.
func Free(t Transport, b []byte) {
	if a, ok := t.(Allocator); ok {
		a.Free(b)
	}
}
