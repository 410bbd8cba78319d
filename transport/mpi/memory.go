package mpi

// Alloc returns n bytes of whatever content from large pages, or nil where there is no room for
// them in one piece. Open MPI has the kernel copy long messages between processes of one machine,
// and the kernel looks up every page of the sender's: with pages of 2 MiB instead of 4 KiB that
// look-up costs nothing. See [transport.Allocator].
func (t *Transport) Alloc(n int) []byte {
	if t.arena == nil {
		return nil
	}
	return t.arena.Alloc(n)
}

// Free takes back what Alloc has returned, and reports whether b was that.
func (t *Transport) Free(b []byte) bool { return t.arena != nil && t.arena.Free(b) }

// freeMemory gives the arena back, unless something of it is still in use, or MPI may still be
// using something.
func (t *Transport) freeMemory() {
	if t.arena == nil || t.active > 0 {
		return
	}
	if memory, unused := t.arena.Close(); unused {
		giveBack(memory)
	}
}
