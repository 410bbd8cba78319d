package collective

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
)

// Broadcast gives all ranks the bytes of root in buf, which is as long on every rank. A rank whose
// buffer has another length than that of root gets an error.
//
// Binomial tree: counted from root, rank v receives from the rank whose number is v without its
// lowest set bit, and then sends to its own children. n-1 messages of the whole length in all, at
// most ceil(log2 n) one after the other.
func (c *Comm) Broadcast(ctx context.Context, root transport.Rank, buf []byte) error {
	if root < 0 || int(root) >= c.Size() {
		return c.misuse("broadcast", "root %d outside 0..%d", root, c.Size()-1)
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
		// The farthest child has the largest subtree, so it gets its message first.
		for distance := reach / 2; distance > 0; distance /= 2 {
			if v+distance < n {
				c.x.send(world(v+distance), tag, buf)
			}
		}
		return c.step(ctx)
	})
}
