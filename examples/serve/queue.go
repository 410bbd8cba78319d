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
// It returns nothing when the queue is closed and empty. One goroutine calls it.
func (q *queue) batch() []*request {
	first := q.first()
	if first == nil {
		return nil
	}
	batch, tokens := []*request{first}, first.tokens
	timer := time.NewTimer(q.delay - time.Since(first.arrived))
	defer timer.Stop()
	for tokens < q.limit {
		r := q.more(timer.C)
		if r == nil {
			break
		}
		if tokens+r.tokens > q.limit {
			q.next = r
			break
		}
		batch, tokens = append(batch, r), tokens+r.tokens
	}
	return batch
}

// first waits for a request whose client is still there.
func (q *queue) first() *request {
	if r := q.next; r != nil {
		q.next = nil
		if r.ctx.Err() == nil {
			return r
		}
	}
	for {
		select {
		case r := <-q.pending:
			if r.ctx.Err() == nil {
				return r
			}
		case <-q.closed:
			return q.waiting()
		}
	}
}

// more waits for one until the time is over.
func (q *queue) more(over <-chan time.Time) *request {
	for {
		if r := q.waiting(); r != nil {
			return r
		}
		select {
		case r := <-q.pending:
			if r.ctx.Err() == nil {
				return r
			}
		case <-over:
			return nil
		case <-q.closed:
			return q.waiting()
		}
	}
}

// waiting returns one that waits already, or nil.
func (q *queue) waiting() *request {
	for {
		select {
		case r := <-q.pending:
			if r.ctx.Err() == nil {
				return r
			}
		default:
			return nil
		}
	}
}
