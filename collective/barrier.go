package collective

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
)

// Barrier returns when every rank has called it.
//
// Dissemination: in step k rank r sends to rank r+2^k and receives from rank r-2^k, modulo n. After
// ceil(log2 n) steps each rank has had a message that depends on every other. Each rank sends
// ceil(log2 n) empty messages. (Hensgen, Finkel and Manber, "Two algorithms for barrier
// synchronization", 1988.)
func (c *Comm) Barrier(ctx context.Context) error {
	return c.call("barrier", func(tag transport.Tag) error {
		me, n := int(c.Rank()), c.Size()
		for distance := 1; distance < n; distance *= 2 {
			c.x.send((me+distance)%n, tag)
			c.x.recv((me-distance+n)%n, tag)
			if err := c.step(ctx); err != nil {
				return err
			}
			tag++
		}
		return nil
	})
}
