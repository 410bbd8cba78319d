package inproc

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

// group is a number of operations that one goroutine starts, waits for, and then reads the results
// of. Its life is group.begin, calls of inbox.send and inbox.recv, then one group.wait or
// group.abandon, the results, and group.end; after that it can begin again. The zero value is
// ready.
type group struct {
	ops     []op
	started int
	// pending counts the operations that others will finish, and one for the goroutine that is
	// still starting some, so that the goroutine that brings it to zero knows that all are done.
	pending atomic.Int64
	done    chan struct{}
	timer   *time.Timer

	// slow, where it is not nil, is called by wait once it has waited for the time that slow
	// returns for 0, and again after each time that it returns then.
	slow func(g *group, waited time.Duration) (again time.Duration)
}

// begin makes room for n operations.
func (g *group) begin(n int) {
	if g.done == nil {
		g.done = make(chan struct{}, 1)
	}
	if cap(g.ops) < n {
		g.ops = make([]op, n)
	}
	g.ops, g.started = g.ops[:n], 0
	g.pending.Store(1)
}

// start prepares the next operation. It is not in the inbox yet.
func (g *group) start(b *inbox, s side, from int, tag transport.Tag, bufs [][]byte) *op {
	o := &g.ops[g.started]
	g.started++
	*o = op{side: s, from: from, tag: tag, inbox: b, group: g, bufs: bufs, size: rows.SizeOf(bufs)}
	return o
}

func (g *group) oneDone() {
	if g.pending.Add(-1) == 0 {
		g.done <- struct{}{}
	}
}

// wait waits until every operation is done, and returns -1 and nil; how each one ended is for
// group.result to tell. If ctx ends before, or limit passes (zero or less is no limit), it takes
// back what nobody has begun to copy, waits for the rest, and returns the number of the first
// operation taken back and ctx.Err() or [transport.ErrTimeout]; where there was nothing to take
// back, that is success again. In every case all buffers are the caller's again.
func (g *group) wait(ctx context.Context, limit time.Duration) (stuck int, why error) {
	if g.pending.Add(-1) == 0 {
		return -1, nil
	}
	if g.yield() {
		<-g.done
		return -1, nil
	}
	if why = g.sleep(ctx, limit); why == nil {
		return -1, nil
	}
	stuck, taken := g.withdraw()
	if taken == 0 {
		<-g.done
		return -1, nil
	}
	g.settle(taken)
	return stuck, why
}

// sleep waits until all is done, ctx ends or limit passes, and calls slow meanwhile.
func (g *group) sleep(ctx context.Context, limit time.Duration) (why error) {
	begin, nap, slow := time.Now(), limit, g.slow
	if slow != nil {
		nap = atMost(slow(g, 0), limit)
	}
	for {
		expired := g.arm(nap)
		select {
		case <-g.done:
		case <-ctx.Done():
			why = ctx.Err()
		case <-expired:
			if waited := time.Since(begin); slow != nil && (limit <= 0 || waited < limit) {
				nap = atMost(slow(g, waited), limit-waited)
				continue
			}
			why = transport.ErrTimeout
		}
		if expired != nil {
			g.timer.Stop()
		}
		return why
	}
}

// atMost is d, or what is left of a limit, if there is one.
func atMost(d, left time.Duration) time.Duration {
	if left > 0 {
		return min(d, left)
	}
	return d
}

// awaited calls yield with the sender of every receive that nothing has come for.
func (g *group) awaited(yield func(from int)) {
	for i := range g.ops[:g.started] {
		o := &g.ops[i]
		o.inbox.mu.Lock()
		waits := o.waits && o.side == receiving
		o.inbox.mu.Unlock()
		if waits {
			yield(o.from)
		}
	}
}

// yields is how often a waiting goroutine lets others run before it goes to sleep: for small
// messages these are the ranks that it waits for, and to be woken costs more than the wait. Where
// nobody else can run it is over in microseconds.
const yields = 128

// yield tells whether everything was done while others ran.
func (g *group) yield() bool {
	for range yields {
		runtime.Gosched()
		if g.pending.Load() == 0 {
			return true
		}
	}
	return false
}

// abandon takes back what nobody has begun to copy and waits for the rest, instead of group.wait,
// where starting an operation has failed.
func (g *group) abandon() {
	_, taken := g.withdraw()
	g.settle(taken + 1)
}

// settle waits for the operations that are left when k of the pending ones are not to be waited
// for.
func (g *group) settle(k int) {
	if g.pending.Add(-int64(k)) != 0 {
		<-g.done
	}
}

// withdraw takes every operation that still waits out of its matcher. It returns the number of
// the first one, or -1 if there was none, and how many there were.
func (g *group) withdraw() (first, taken int) {
	first = -1
	for i := range g.ops[:g.started] {
		o := &g.ops[i]
		o.inbox.mu.Lock()
		if o.waits {
			o.takeOut(o.inbox.senders[o.from])
			taken++
			if first < 0 {
				first = i
			}
		}
		o.inbox.mu.Unlock()
	}
	return first, taken
}

// result returns how operation i, in the order of starting, ended: the length of a message
// received, or what the inbox was broken or closed with.
func (g *group) result(i int) (n int, err error) { return g.ops[i].n, g.ops[i].err }

// end forgets the operations and their buffers.
func (g *group) end() { clear(g.ops) }

func (g *group) arm(limit time.Duration) <-chan time.Time {
	if limit <= 0 {
		return nil
	}
	if g.timer == nil {
		g.timer = time.NewTimer(limit)
	} else {
		g.timer.Reset(limit)
	}
	return g.timer.C
}
