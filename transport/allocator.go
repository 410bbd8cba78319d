package transport

// Allocator is implemented by transports with memory that peers on the same machine read in place:
// a message in it, in any number of pieces, is copied once, into the receiver's buffers, instead of
// twice. There is no other difference: such memory is sent to any peer, received into and used like
// any other.
type Allocator interface {
	// Alloc returns n bytes of any content, or nil if there is no room for them. They belong to the
	// caller until Free or Close, whichever is first.
	Alloc(n int) []byte
	// Free frees a slice that Alloc returned, and reports whether it was one. No operation may be
	// using it.
	Free(b []byte) bool
}

// Alloc returns n bytes from t's own memory if it has some, else from Go's. [Free] frees them.
func Alloc(t Transport, n int) []byte {
	if a, ok := t.(Allocator); ok {
		if b := a.Alloc(n); b != nil {
			return b
		}
	}
	return make([]byte, n)
}

// Free frees what [Alloc] returned.
func Free(t Transport, b []byte) {
	if a, ok := t.(Allocator); ok {
		a.Free(b)
	}
}
