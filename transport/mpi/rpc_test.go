//go:build mpi && cgo

package mpi

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// The suite runs in one process, MPI's ranks are others: what passes between them, as gob over a
// Unix socket a rank.

// request asks a rank for a call of its transport, or is about one: with Cancel set, that the
// context of call ID has ended.
type rpcRequest struct {
	ID       uint64
	Op       string // open, send, recv, exchange, close, wire, steady
	Cancel   ending
	Size     int // of a job to open
	Sends    []rpcMessage
	Recvs    []rpcMessage
	Bytes, N int // of steady
}

type rpcMessage struct {
	Peer int
	Tag  uint64
	Bufs [][]byte
	N    int
}

type rpcResponse struct {
	ID    uint64
	Hello int // rank + 1 in the first response of a rank
	Err   *rpcError
	Panic string
	Recvs []rpcMessage
	Wire  uint64
	Name  string
	// Of steady: allocations and time of each exchange.
	Allocs float64
	Took   time.Duration
}

// ending is how a context ended.
type ending int

const (
	running ending = iota
	cancelled
	deadline
)

func endingOf(ctx context.Context) ending {
	switch {
	case ctx.Err() == nil:
		return running
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return deadline
	}
	return cancelled
}

// rpcContext is a context of the other process.
type rpcContext struct {
	context.Context
	once sync.Once
	done chan struct{}
	mu   sync.Mutex
	err  error
}

func newRPCContext(e ending) *rpcContext {
	c := &rpcContext{Context: context.Background(), done: make(chan struct{})}
	c.end(e)
	return c
}

func (c *rpcContext) Done() <-chan struct{} { return c.done }

func (c *rpcContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *rpcContext) end(e ending) {
	if e == running {
		return
	}
	c.once.Do(func() {
		c.mu.Lock()
		c.err = context.Canceled
		if e == deadline {
			c.err = context.DeadlineExceeded
		}
		c.mu.Unlock()
		close(c.done)
	})
}

// rpcError is an encoded error: its text and the sentinels that it wraps.
type rpcError struct {
	Typed   bool // a *transport.Error
	Rank    int
	Op      string
	Text    string
	Beneath []int // among rpcSentinels
}

func rpcSentinels() []error {
	return append(reasons(), transport.ErrClosed, transport.ErrMismatch)
}

func encodeError(err error) *rpcError {
	if err == nil {
		return nil
	}
	out := &rpcError{Text: err.Error()}
	var e *transport.Error
	if errors.As(err, &e) {
		out.Typed, out.Rank, out.Op, out.Text = true, int(e.Rank), e.Op, e.Err.Error()
	}
	for i, s := range rpcSentinels() {
		if errors.Is(err, s) {
			out.Beneath = append(out.Beneath, i)
		}
	}
	return out
}

func (e *rpcError) decode() error {
	if e == nil {
		return nil
	}
	err := error(remoteError{e})
	if e.Typed {
		err = &transport.Error{Rank: transport.Rank(e.Rank), Op: e.Op, Err: err}
	}
	return err
}

type remoteError struct{ *rpcError }

func (e remoteError) Error() string { return e.Text }

func (e remoteError) Unwrap() []error {
	var list []error
	for _, i := range e.Beneath {
		list = append(list, rpcSentinels()[i])
	}
	return list
}
