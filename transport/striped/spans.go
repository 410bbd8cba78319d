package striped

import "sort"

// source reads the concatenation of bufs from its start.
type source struct {
	bufs [][]byte
	at   int // within bufs[0]
}

// read fills dst.
func (s *source) read(dst []byte) {
	for len(dst) > 0 {
		n := copy(dst, s.bufs[0][s.at:])
		dst, s.at = dst[n:], s.at+n
		if s.at == len(s.bufs[0]) {
			s.bufs, s.at = s.bufs[1:], 0
		}
	}
}

// spans is the concatenation of several buffers, with access at any offset.
type spans struct {
	bufs   [][]byte
	starts []int // where each buffer begins; nil if there is only one
}

func newSpans(bufs [][]byte) spans {
	s := spans{bufs: bufs}
	if len(bufs) > 1 {
		s.starts = make([]int, len(bufs))
		for i := 1; i < len(bufs); i++ {
			s.starts[i] = s.starts[i-1] + len(bufs[i-1])
		}
	}
	return s
}

// find returns the buffer that holds byte at, and the byte's offset within.
func (s *spans) find(at int) (buf, offset int) {
	if s.starts == nil {
		return 0, at
	}
	// the last buffer that begins at or before it, which is not empty
	buf = sort.SearchInts(s.starts, at+1) - 1
	return buf, at - s.starts[buf]
}

// write copies src to offset at.
func (s *spans) write(at int, src []byte) {
	s.each(at, len(src), func(b []byte) { src = src[copy(b, src):] })
}

// read copies from offset at to dst.
func (s *spans) read(at int, dst []byte) {
	s.each(at, len(dst), func(b []byte) { dst = dst[copy(dst, b):] })
}

// each calls do with n bytes from offset at, a buffer at a time, in order.
func (s *spans) each(at, n int, do func(b []byte)) {
	if n == 0 {
		return
	}
	for i, offset := s.find(at); n > 0; i, offset = i+1, 0 {
		b := s.bufs[i][offset:]
		b = b[:min(len(b), n)]
		do(b)
		n -= len(b)
	}
}

// slice returns the n bytes from offset at, n above 0, if they lie in one buffer. Its capacity is
// n.
func (s *spans) slice(at, n int) ([]byte, bool) {
	i, offset := s.find(at)
	if offset+n > len(s.bufs[i]) {
		return nil, false
	}
	return s.bufs[i][offset : offset+n : offset+n], true
}
