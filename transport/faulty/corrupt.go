package faulty

import (
	"math/rand/v2"

	"github.com/switchyard-moe/switchyard/internal/rows"
)

// corruptSalt makes the choice of bytes independent of the choice whether to change any.
const corruptSalt = 1 << 33

// corrupted returns a copy of the message with n bytes changed.
func corrupted(bufs [][]byte, n int, bits uint64) []byte {
	body := make([]byte, 0, rows.SizeOf(bufs))
	for _, b := range bufs {
		body = append(body, b...)
	}
	corrupt([][]byte{body}, n, bits)
	return body
}

// corrupt changes n different bytes of the message in place, or all of them if it is shorter.
func corrupt(bufs [][]byte, n int, bits uint64) {
	r := rand.New(rand.NewPCG(bits, 0))
	left, size := n, rows.SizeOf(bufs)
	for _, b := range bufs {
		for i := range b {
			// Each of the remaining bytes is one of the left ones with equal chance.
			if r.IntN(size) < left {
				b[i] ^= byte(1 + r.IntN(255))
				left--
			}
			size--
		}
	}
}

// cut returns the first n bytes of bufs.
func cut(bufs [][]byte, n int) [][]byte {
	var out [][]byte
	for _, b := range bufs {
		b = b[:min(n, len(b))]
		out, n = append(out, b), n-len(b)
	}
	return out
}
