package mpi

// Alloc returns n bytes of any content from large pages, or nil if there is no room for them in one
// piece. With Open MPI the kernel copies long messages between processes of one machine, and looks
// up every page of the sender's: with pages of 2 MiB instead of 4 KiB that costs almost nothing.
// See [transport.Allocator].
func (t *Transport) Alloc(n int) []byte {
	if t.arena == nil {
		return nil
	}
	return t.arena.Alloc(n)
}

// Free frees what Alloc has returned, and reports whether b was that.
func (t *Transport) Free(b []byte) bool { return t.arena != nil && t.arena.Free(b) }

// freeMemory frees the arena, unless a part of it is still in use, or may be by MPI.
func (t *Transport) freeMemory() {
	if t.arena == nil || t.active > 0 {
		return
	}
	if memory, unused := t.arena.Close(); unused {
		giveBack(memory)
	}
}
