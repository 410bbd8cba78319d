package delayqueue

import (
	"context"
	"errors"
	"slices"
	"time"
)

// serve hands on the messages of one key until there are none.
func (q *Queue) serve(k Key) {
	for {
		q.mu.Lock()
		line := q.waiting[k]
		if len(line) == 0 {
			delete(q.waiting, k)
			q.mu.Unlock()
			return
		}
		m := line[0]
		q.mu.Unlock()
		if m.await() && q.claim(m) {
			q.handOn(m)
		} else {
			q.discard(m)
		}
	}
}

// await waits until the message is due, and reports whether it still is to be delivered.
func (m *Message) await() bool {
	timer := time.NewTimer(time.Until(m.due))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.released:
	case <-m.ctx.Done():
	}
	return m.ctx.Err() == nil
}

// claim marks m as on its way, unless it has been taken back.
func (q *Queue) claim(m *Message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	m.going = m.waits()
	return m.going
}

// handOn delivers m. An error that is not the message's own withdrawal is the end of all
// deliveries.
func (q *Queue) handOn(m *Message) {
	err := q.deliver(m.ctx, m.key.To, m.key.Tag, m.body)
	withdrawn := m.ctx.Err() != nil && errors.Is(err, context.Canceled)
	if err != nil && !withdrawn {
		q.Fail(err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.remove(m, err)
}

// discard forgets m, whose delivery has been called off, unless its sender has done so.
func (q *Queue) discard(m *Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m.waits() {
		q.remove(m, errTaken)
	}
}

// remove takes m out of its line and states how it has ended. The caller holds the lock.
func (q *Queue) remove(m *Message, err error) {
	line := q.waiting[m.key]
	if i := slices.Index(line, m); i >= 0 {
		q.waiting[m.key] = slices.Delete(line, i, i+1)
	}
	m.err = err
	m.cancel()
	close(m.done)
	q.announce()
}

// Flush makes every message in store due at once.
func (q *Queue) Flush() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.latest = time.Now()
	for _, line := range q.waiting {
		for _, m := range line {
			m.Release()
		}
	}
}

// Close refuses new messages, has those who wait in [Queue.Wait] take theirs back, delivers the
// rest when it is due, for which it waits until grace after the last one, and drops what is left
// then. No goroutine outlives it.
func (q *Queue) Close(grace time.Duration) {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.closing)
	}
	latest := q.latest
	q.mu.Unlock()
	delivered := make(chan struct{})
	go func() { q.wg.Wait(); close(delivered) }()
	timer := time.NewTimer(max(0, time.Until(latest)) + grace)
	defer timer.Stop()
	select {
	case <-delivered:
	case <-timer.C:
		q.end()
		<-delivered
	}
	q.end()
}
