package striped

import (
	"math/bits"
	"sync"
)

// smallestClass is the logarithm of the smallest buffer there is.
const smallestClass = 8

// buffer is memory for one frame.
type buffer struct {
	b     []byte // the frame
	class int
}

// pool keeps buffers for reuse. Their payloads are powers of two, so that a small frame never holds
// the memory of a large one, and a stripe of such a length wastes none.
type pool struct {
	classes [32]sync.Pool
}

// get returns a buffer of n bytes with any content.
func (p *pool) get(n int) *buffer {
	class := classOf(n)
	if b, ok := p.classes[class].Get().(*buffer); ok {
		b.b = b.b[:n]
		return b
	}
	return &buffer{make([]byte, n, headerBytes+1<<class), class}
}

// classOf is the logarithm of the payload that a buffer of n bytes has room for.
func classOf(n int) int {
	return max(bits.Len(uint(max(n-headerBytes-1, 0))), smallestClass)
}

func (p *pool) put(b *buffer) {
	if b != nil {
		p.classes[b.class].Put(b)
	}
}

// fit returns f, to be kept, if it is no larger than its frame needs, else a copy that is.
func (p *pool) fit(f *buffer) (fitting *buffer, kept bool) {
	if classOf(len(f.b)) == f.class {
		return f, true
	}
	c := p.get(len(f.b))
	copy(c.b, f.b)
	return c, false
}
