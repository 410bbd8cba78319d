package mesh

import (
	"fmt"
	"math/bits"

	"github.com/switchyard-moe/switchyard/transport"
)

// checkLengths reports a message that is longer than an int counts, which 64 bits always do.
// Buffers that overlap can add up to that if an int has 32. Nothing has been asked for or
// sent yet, so the transport stays usable.
func checkLengths(op string, lists ...[]transport.Message) error {
	if bits.UintSize == 64 {
		return nil
	}
	for _, list := range lists {
		for i := range list {
			n := uint64(0)
			for _, b := range list[i].Bufs {
				n += uint64(len(b))
			}
			if limit := uint64(1<<(bits.UintSize-1) - 1); n > limit {
				return &transport.Error{Rank: list[i].Peer, Op: op,
					Err: fmt.Errorf("message of %d bytes, tag %#x, limit %d: %w", n, uint64(list[i].Tag), limit, transport.ErrTooLarge)}
			}
		}
	}
	return nil
}
