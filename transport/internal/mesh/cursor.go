package mesh

import "github.com/switchyard-moe/switchyard/internal/crc32c"

// cursor walks over the concatenation of buffers that belong to somebody else and never changes the
// slice that holds them.
type cursor struct {
	bufs [][]byte
	i    int // buffer
	off  int // byte within it
}

// next appends to dst the slices that cover the next n bytes, at most cap(dst) of them, without
// moving.
func (c *cursor) next(dst [][]byte, n int) [][]byte {
	off := c.off
	for i := c.i; i < len(c.bufs) && n > 0 && len(dst) < cap(dst); i++ {
		b := c.bufs[i][off:]
		off = 0
		if len(b) == 0 {
			continue
		}
		if len(b) > n {
			b = b[:n]
		}
		n -= len(b)
		dst = append(dst, b)
	}
	return dst
}

// skip moves on by n bytes.
func (c *cursor) skip(n int) {
	for n > 0 {
		left := len(c.bufs[c.i]) - c.off
		if n < left {
			c.off += n
			return
		}
		n -= left
		c.i, c.off = c.i+1, 0
	}
}

// fill copies src to where the cursor stands and moves on.
func (c *cursor) fill(src []byte) {
	for len(src) > 0 {
		n := copy(c.bufs[c.i][c.off:], src)
		src = src[n:]
		if c.off += n; c.off == len(c.bufs[c.i]) && len(src) > 0 {
			c.i, c.off = c.i+1, 0
		}
	}
}

// drain copies the next len(dst) bytes to dst and moves on.
func (c *cursor) drain(dst []byte) {
	for len(dst) > 0 {
		n := copy(dst, c.bufs[c.i][c.off:])
		dst = dst[n:]
		if c.off += n; c.off == len(c.bufs[c.i]) && len(dst) > 0 {
			c.i, c.off = c.i+1, 0
		}
	}
}

// sum extends crc over the next n bytes without moving.
func (c cursor) sum(crc uint32, n int) uint32 {
	for n > 0 {
		b := c.bufs[c.i][c.off:]
		if len(b) > n {
			b = b[:n]
		}
		crc = crc32c.Update(crc, b)
		n -= len(b)
		c.i, c.off = c.i+1, 0
	}
	return crc
}
