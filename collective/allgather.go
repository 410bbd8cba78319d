package collective

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/transport"
)

// AllGather gives every rank the src of all ranks, in the order of ranks, in dst. All are of the
// same length, and dst is Size times as long. src may be this rank's own range of dst. A peer whose
// length differs is an error.
//
// Direct: each rank sends src to all others at once. One step, (n-1)·len(src) bytes a rank.
func (c *Comm) AllGather(ctx context.Context, dst, src []byte) error {
	n, size := c.Size(), len(src)
	if len(dst) != n*size {
		return c.misuse("all-gather", "dst has %d bytes, want %d times %d", len(dst), n, size)
	}
	return c.call("all-gather", func(tag transport.Tag) error {
		me := int(c.Rank())
		copy(dst[me*size:(me+1)*size], src)
		for r := range n {
			if r != me {
				c.x.send(r, tag, src)
				c.x.recv(r, tag, dst[r*size:(r+1)*size])
			}
		}
		return c.step(ctx)
	})
}

// AllGatherV gives every rank the bytes of all ranks, whose lengths all ranks know: bufs[Rank()] is
// sent to the others, and bufs[r] is filled with what rank r sends. A peer whose length differs is
// an error.
//
// Direct: each rank sends its bytes to all others at once. One step, (n-1)·len(bufs[r]) bytes by
// rank r.
func (c *Comm) AllGatherV(ctx context.Context, bufs [][]byte) error {
	if len(bufs) != c.Size() {
		return c.misuse("all-gather", "%d buffers for %d ranks", len(bufs), c.Size())
	}
	return c.call("all-gather", func(tag transport.Tag) error { return c.gatherV(ctx, tag, bufs) })
}

func (c *Comm) gatherV(ctx context.Context, tag transport.Tag, bufs [][]byte) error {
	me := int(c.Rank())
	for r, buf := range bufs {
		if r != me {
			c.x.send(r, tag, bufs[me])
			c.x.recv(r, tag, buf)
		}
	}
	return c.step(ctx)
}

// AllGatherAny gives every rank the src of all ranks, which need not know each other's lengths.
// Element r of the result is that of rank r, the caller's to keep; all elements share one
// allocation. A length above limit bytes is [transport.ErrTooLarge], on all ranks if they give the
// same limit, before memory is allocated for it.
//
// Direct, twice: 8 bytes of length to all others, then the data. Two steps, (n-1)·(8+len(src))
// bytes a rank.
func (c *Comm) AllGatherAny(ctx context.Context, src []byte, limit int) ([][]byte, error) {
	bufs := make([][]byte, c.Size())
	err := c.call("all-gather", func(tag transport.Tag) error {
		if err := c.gatherLengths(ctx, tag, int64(len(src))); err != nil {
			return err
		}
		total := 0
		for r, size := range c.ints {
			if size < 0 || size > int64(limit) {
				err := fmt.Errorf("%w: %d bytes, at most %d are allowed", transport.ErrTooLarge, size, limit)
				return &transport.Error{Rank: transport.Rank(r), Op: "recv", Err: err}
			}
			total += int(size)
		}
		room := make([]byte, total)
		for r, size := range c.ints {
			bufs[r], room = room[:size:size], room[size:]
		}
		copy(bufs[c.Rank()], src)
		return c.gatherV(ctx, tag+1, bufs)
	})
	if err != nil {
		return nil, err
	}
	return bufs, nil
}

// gatherLengths puts the lengths of all ranks into c.ints.
func (c *Comm) gatherLengths(ctx context.Context, tag transport.Tag, mine int64) error {
	me, n := int(c.Rank()), c.Size()
	c.ints = grow(c.ints, n)
	c.ints[me] = mine
	for r := range n {
		if r != me {
			c.x.send(r, tag, view.Bytes(c.ints[me:me+1]))
			c.x.recv(r, tag, view.Bytes(c.ints[r:r+1]))
		}
	}
	return c.step(ctx)
}
