package matching

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

// Group is a number of operations that one goroutine starts, waits for, and then reads the results
// of. Its life is [Group.Begin], calls of [Queue.Send] and [Queue.Recv], then one [Group.Wait] or
// [Group.Abandon], the results, and [Group.End]; after that it can begin again. The zero value is
// ready.
type Group struct {
	ops     []op
	started int
	// pending counts the operations that others will finish, and one for the goroutine that is
	// still starting some, so that the goroutine that brings it to zero knows that all are done.
	pending atomic.Int64
	done    chan struct{}
	timer   *time.Timer

	// Slow, where it is not nil, is called by Wait once it has waited for the time that Slow
	// returns for 0, and again after each time that it returns then.
	Slow func(g *Group, waited time.Duration) (again time.Duration)
}

// Begin makes room for n operations.
func (g *Group) Begin(n int) {
	if g.done == nil {
		g.done = make(chan struct{}, 1)
	}
	if cap(g.ops) < n {
		g.ops = make([]op, n)
	}
	g.ops, g.started = g.ops[:n], 0
	g.pending.Store(1)
}

// start prepares the next operation. It is not in the queue yet.
func (g *Group) start(q *Queue, k key, s side, bufs [][]byte) *op {
	o := &g.ops[g.started]
	g.started++
	*o = op{side: s, key: k, queue: q, group: g, bufs: bufs, size: rows.SizeOf(bufs)}
	return o
}

func (g *Group) oneDone() {
	if g.pending.Add(-1) == 0 {
		g.done <- struct{}{}
	}
}

// Wait waits until every operation is done, and returns -1 and nil; how each one ended is for
// [Group.Result] to tell. If ctx ends before, or limit passes (zero or less is no limit), it takes
// back what nobody has begun to copy, waits for the rest, and returns the number of the first
// operation taken back and ctx.Err() or [transport.ErrTimeout]; where there was nothing to take
// back, that is success again. In every case all buffers are the caller's again.
func (g *Group) Wait(ctx context.Context, limit time.Duration) (stuck int, why error) {
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

// sleep waits until all is done, ctx ends or limit passes, and calls Slow meanwhile.
func (g *Group) sleep(ctx context.Context, limit time.Duration) (why error) {
	begin, nap, slow := time.Now(), limit, g.Slow
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

// Awaited calls yield with the sender of every receive that nothing has come for.
func (g *Group) Awaited(yield func(from int)) {
	for i := range g.ops[:g.started] {
		o := &g.ops[i]
		o.queue.mu.Lock()
		waits := o.line != nil && o.side == receiving
		o.queue.mu.Unlock()
		if waits {
			yield(o.key.from)
		}
	}
}

// yields is how often a waiting goroutine lets others run before it goes to sleep: for small
// messages these are the ranks that it waits for, and to be woken costs more than the wait. Where
// nobody else can run it is over in microseconds.
const yields = 128

// yield tells whether everything was done while others ran.
func (g *Group) yield() bool {
	for range yields {
		runtime.Gosched()
		if g.pending.Load() == 0 {
			return true
		}
	}
	return false
}

// Abandon takes back what nobody has begun to copy and waits for the rest, instead of [Group.Wait],
// where starting an operation has failed.
func (g *Group) Abandon() {
	_, taken := g.withdraw()
	g.settle(taken + 1)
}

// settle waits for the operations that are left when k of the pending ones are not to be waited
// for.
func (g *Group) settle(k int) {
	if g.pending.Add(-int64(k)) != 0 {
		<-g.done
	}
}

// withdraw takes every operation that still stands in a line out of it. It returns the number of
// the first one, or -1 if there was none, and how many there were.
func (g *Group) withdraw() (first, taken int) {
	first = -1
	for i := range g.ops[:g.started] {
		o := &g.ops[i]
		o.queue.mu.Lock()
		if o.line != nil {
			o.queue.unlink(o)
			taken++
			if first < 0 {
				first = i
			}
		}
		o.queue.mu.Unlock()
	}
	return first, taken
}

// Result returns how operation i, in the order of starting, ended: the length of a message
// received, or what the queue was broken or closed with.
func (g *Group) Result(i int) (n int, err error) { return g.ops[i].n, g.ops[i].err }

// End forgets the operations and their buffers.
func (g *Group) End() { clear(g.ops) }

func (g *Group) arm(limit time.Duration) <-chan time.Time {
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
