package striped

import "math"

// shape is how one message is cut: into blocks of k stripes, of at most stripe bytes each. Sender
// and receiver compute it from the message's length.
type shape struct {
	total, k, stripe int
}

// cut returns the shape of a message of total bytes over k data links. A message with k = 1 is sent
// in copies.
func (c *Config) cut(total, k int) shape {
	if total < k*c.MinStripe && total <= c.StripeBytes {
		k = 1
	}
	return shape{total, k, c.StripeBytes}
}

// longest is the length of the longest message over k data links. With a full last block it must
// fit an int, and the number of its blocks must fit a frame.
func (c *Config) longest(k int) uint64 {
	full := uint64(k * c.StripeBytes)
	return min(math.MaxInt-full, math.MaxUint32*full)
}

// blocks is the number of blocks, at least one.
func (s shape) blocks() int {
	full := s.k * s.stripe
	return max(1, (s.total+full-1)/full)
}

// block returns where block b lies in the message.
func (s shape) block(b int) (from, to int) {
	full := s.k * s.stripe
	return b * full, min((b+1)*full, s.total)
}

// length is the length of every stripe of block b, parity included; the last data stripes are
// filled up with zeros.
func (s shape) length(b int) int {
	from, to := s.block(b)
	return (to - from + s.k - 1) / s.k
}

// data returns where data stripe i of block b lies in the message; it may be empty.
func (s shape) data(b, i int) (from, to int) {
	start, end := s.block(b)
	n := s.length(b)
	return min(start+i*n, end), min(start+(i+1)*n, end)
}
