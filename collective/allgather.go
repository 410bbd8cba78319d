package collective

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/transport"
)

// AllGather gives every rank all ranks' src, one after the other in dst. All are of one length, and dst is Size
// times as long. src may be this rank's own place in dst. A peer whose length differs is an error. It panics if
// dst has the wrong length.
//
// Direct: every rank sends its src to all others at once. One step, (n-1)*len(src) bytes sent by each rank.
func (c *Comm) AllGather(ctx context.Context, dst, src []byte) error {
	n, size := c.Size(), len(src)
	if len(dst) != n*size {
		panic(fmt.Sprintf("collective: AllGather: dst has %d bytes, want %d times %d", len(dst), n, size))
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

// AllGatherV gives every rank all ranks' parts, whose lengths all ranks know: parts[Rank()] is what this rank
// gives, and the others are the room for what it gets. A peer whose length differs is an error. It panics if parts
// does not have Size elements.
//
// Direct: every rank sends its part to all others at once. One step, (n-1)*len(parts[r]) bytes sent by rank r.
func (c *Comm) AllGatherV(ctx context.Context, parts [][]byte) error {
	if len(parts) != c.Size() {
		panic(fmt.Sprintf("collective: AllGatherV: %d parts for %d ranks", len(parts), c.Size()))
	}
	return c.call("all-gather", func(tag transport.Tag) error { return c.gatherV(ctx, tag, parts) })
}

func (c *Comm) gatherV(ctx context.Context, tag transport.Tag, parts [][]byte) error {
	me := int(c.Rank())
	for r, part := range parts {
		if r != me {
			c.x.send(r, tag, parts[me])
			c.x.recv(r, tag, part)
		}
	}
	return c.step(ctx)
}

// AllGatherAny gives every rank all ranks' src, whose lengths nobody knows before. Element r of the result is what
// rank r gave, the caller's to keep; all elements share one allocation. A length above limit bytes is
// [transport.ErrTooLarge], found by all ranks alike if they give the same limit, and before anything is allocated for it.
//
// Direct, twice: 8 bytes of length to all others, then the data. Two steps, (n-1)*(8+len(src)) bytes sent by each rank.
func (c *Comm) AllGatherAny(ctx context.Context, src []byte, limit int) ([][]byte, error) {
	parts := make([][]byte, c.Size())
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
			parts[r], room = room[:size:size], room[size:]
		}
		copy(parts[c.Rank()], src)
		return c.gatherV(ctx, tag+1, parts)
	})
	if err != nil {
		return nil, err
	}
	return parts, nil
}

// gatherLengths leaves all ranks' lengths in c.ints.
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
