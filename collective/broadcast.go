package collective

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
)

// Broadcast gives all ranks what root has in buf, which is as long on every rank. A rank whose buffer has another
// length than root's gets an error. It panics if there is no such root.
//
// Binomial tree: seen from root, rank v receives from v without its lowest set bit, and then sends to those
// of whom it is that. n-1 messages of the whole length in all, ceil(log2 n) one after the other at most.
func (c *Comm) Broadcast(ctx context.Context, root transport.Rank, buf []byte) error {
	if root < 0 || int(root) >= c.Size() {
		panic(fmt.Sprintf("collective: Broadcast: root %d outside 0..%d", root, c.Size()-1))
	}
	return c.call("broadcast", func(tag transport.Tag) error {
		n := c.Size()
		v := (int(c.Rank()) - int(root) + n) % n
		world := func(v int) int { return (v + int(root)) % n }
		reach := v & -v
		if v == 0 {
			for reach = 1; reach < n; {
				reach *= 2
			}
		} else {
			c.x.recv(world(v-reach), tag, buf)
			if err := c.step(ctx); err != nil {
				return err
			}
		}
		// The farthest child has the largest subtree, so it is served first.
		for far := reach / 2; far > 0; far /= 2 {
			if v+far < n {
				c.x.send(world(v+far), tag, buf)
			}
		}
		return c.step(ctx)
	})
}
