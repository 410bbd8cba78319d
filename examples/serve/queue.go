package main

import (
	"sync"
	"time"
)

// queue holds requests until they are put into batches.
type queue struct {
	limit   int           // tokens of a batch
	delay   time.Duration // that a request waits for others
	pending chan *request
	closed  chan struct{}
	close   func()
	next    *request // did not fit into the last batch
}

func newQueue(requests, tokens int, delay time.Duration) *queue {
	q := &queue{limit: tokens, delay: delay, pending: make(chan *request, requests), closed: make(chan struct{})}
	q.close = sync.OnceFunc(func() { close(q.closed) })
	return q
}

// add appends a request, unless the queue is full.
func (q *queue) add(r *request) bool {
	select {
	case q.pending <- r:
		return true
	default:
		return false
	}
}

// batch waits for a request and returns it with those that come within its delay, as many as fit.
// Requests of clients that have left are not among them. It returns nothing when the queue is
// closed and empty. One goroutine calls it.
func (q *queue) batch() (batch []*request) {
	var over <-chan time.Time // never, without a first request
	for tokens := 0; tokens < q.limit; {
		r := q.take(over)
		if r == nil {
			break
		}
		if r.ctx.Err() != nil {
			continue
		}
		if tokens+r.tokens > q.limit {
			q.next = r
			break
		}
		if batch == nil {
			timer := time.NewTimer(q.delay - time.Since(r.arrived))
			defer timer.Stop()
			over = timer.C
		}
		batch, tokens = append(batch, r), tokens+r.tokens
	}
	return batch
}

// take returns the next request, for which it waits until the time is over or the queue is closed.
func (q *queue) take(over <-chan time.Time) *request {
	if r := q.next; r != nil {
		q.next = nil
		return r
	}
	if r := q.waiting(); r != nil {
		return r
	}
	select {
	case r := <-q.pending:
		return r
	case <-over:
		return nil
	case <-q.closed:
		return q.waiting()
	}
}

// waiting returns a request that waits already, or nil.
func (q *queue) waiting() *request {
	select {
	case r := <-q.pending:
		return r
	default:
		return nil
	}
}
