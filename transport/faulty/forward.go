package faulty

import "github.com/switchyard-moe/switchyard/transport"

// Capabilities are those of the transport below; the name says that it is faulty.
func (t *Transport) Capabilities() transport.Capabilities {
	c := transport.CapabilitiesOf(t.below)
	c.Name = "faulty(" + c.Name + ")"
	return c
}

// WireBytes is the number of payload bytes sent to other ranks, whether or not they arrive.
func (t *Transport) WireBytes() uint64 { return t.wire.Load() }

// Alloc returns memory of the transport below, or nil if it has none. See [transport.Allocator].
func (t *Transport) Alloc(n int) []byte {
	if a, ok := t.below.(transport.Allocator); ok {
		return a.Alloc(n)
	}
	return nil
}

// Free frees what Alloc returned.
func (t *Transport) Free(b []byte) bool {
	a, ok := t.below.(transport.Allocator)
	return ok && a.Free(b)
}

// Watch makes the transport below watch p, if it can. See [transport.Watcher].
func (t *Transport) Watch(p transport.Program) { transport.Watch(t.below, p) }

// Settle is that of the transport below, if it has it. See [transport.Watcher].
func (t *Transport) Settle() error { return transport.Settle(t.below) }

// Nodes are those of the transport below, if it knows them. See [transport.Locator].
func (t *Transport) Nodes() []int { return transport.NodesOf(t.below) }

// Abort ends the transport below in disorder, if it can, else in order. See [transport.Aborter].
func (t *Transport) Abort(cause error) { transport.Abort(t.below, cause) }
