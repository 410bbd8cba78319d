package courier

import (
	"context"
	"errors"
	"slices"
	"time"
)

// serve hands on the letters of one key until there are none.
func (c *Courier) serve(k Key) {
	for {
		c.mu.Lock()
		lane := c.lanes[k]
		if len(lane) == 0 {
			delete(c.lanes, k)
			c.mu.Unlock()
			return
		}
		l := lane[0]
		c.mu.Unlock()
		if l.await() && c.take(l) {
			c.handOn(l)
		} else {
			c.drop(l)
		}
	}
}

// await waits until the letter is due, and reports whether it still is to be delivered.
func (l *Letter) await() bool {
	timer := time.NewTimer(time.Until(l.due))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.hurried:
	case <-l.ctx.Done():
	}
	return l.ctx.Err() == nil
}

// take marks l as on its way, unless it has been taken back.
func (c *Courier) take(l *Letter) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.going = l.waits()
	return l.going
}

// handOn delivers l. An error that is not the letter's own withdrawal is the end of all deliveries.
func (c *Courier) handOn(l *Letter) {
	err := c.deliver(l.ctx, l.key.To, l.key.Tag, l.body)
	withdrawn := l.ctx.Err() != nil && errors.Is(err, context.Canceled)
	if err != nil && !withdrawn {
		c.Fail(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(l, err)
}

// drop forgets l, whose delivery has been called off, unless its sender has done so.
func (c *Courier) drop(l *Letter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.waits() {
		c.remove(l, errTaken)
	}
}

// remove takes l out of its lane and states how it has ended. The caller holds the lock.
func (c *Courier) remove(l *Letter, err error) {
	lane := c.lanes[l.key]
	if i := slices.Index(lane, l); i >= 0 {
		c.lanes[l.key] = slices.Delete(lane, i, i+1)
	}
	l.err = err
	l.cancel()
	close(l.done)
	c.announce()
}

// Hurry makes every letter in store due at once.
func (c *Courier) Hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest = time.Now()
	for _, lane := range c.lanes {
		for _, l := range lane {
			l.Release()
		}
	}
}

// Close refuses new letters, has those who wait in [Courier.Wait] take theirs back, delivers the rest when it is
// due, for which it waits until grace after the last one, and drops what is left then. No goroutine outlives it.
func (c *Courier) Close(grace time.Duration) {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.closing)
	}
	latest := c.latest
	c.mu.Unlock()
	delivered := make(chan struct{})
	go func() { c.wg.Wait(); close(delivered) }()
	timer := time.NewTimer(max(0, time.Until(latest)) + grace)
	defer timer.Stop()
	select {
	case <-delivered:
	case <-timer.C:
		c.end()
		<-delivered
	}
	c.end()
}
