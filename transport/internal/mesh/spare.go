package mesh

import "github.com/switchyard-moe/switchyard/transport"

const (
	// spareMessages and spareChunkBytes bound what one peer keeps for reuse: 32 × 16 KiB. Steps
	// whose ranks are a little apart meet a handful of small unexpected messages each time.
	spareMessages   = 32
	spareChunkBytes = 16 << 10
)

// sparePool keeps the small messages that were copied out, so that the next ones need no
// allocation.
type sparePool struct {
	free []*message
}

// get returns an empty message.
func (s *sparePool) get(tag transport.Tag, total int) *message {
	if n := len(s.free); n > 0 {
		msg := s.free[n-1]
		s.free = s.free[:n-1]
		msg.tag, msg.total = tag, total
		return msg
	}
	return &message{tag: tag, total: total}
}

// grow appends a chunk of n bytes to msg and returns it.
func (msg *message) grow(n int) []byte {
	if k := len(msg.chunks); k < cap(msg.chunks) {
		if old := msg.chunks[:k+1][k]; cap(old) >= n {
			msg.chunks = append(msg.chunks, old[:n])
			return msg.chunks[k]
		}
	}
	c := make([]byte, n)
	msg.chunks = append(msg.chunks, c)
	return c
}

// put keeps msg, and its chunk if it is a single small one.
func (s *sparePool) put(msg *message) {
	if len(s.free) >= spareMessages {
		return
	}
	chunks := msg.chunks
	if len(chunks) > 1 || (len(chunks) == 1 && cap(chunks[0]) > spareChunkBytes) {
		chunks = nil
	}
	*msg = message{chunks: chunks[:0]}
	s.free = append(s.free, msg)
}
