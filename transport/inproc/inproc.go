// Package inproc is the transport between ranks that are goroutines of one process.
//
// Messages are copied, never shared: a rank's buffers are its own again when its call returns, as
// on any other transport. A message is copied once, by whichever of sender and receiver comes
// second, straight from the one's buffers into the other's. A short message sent before anybody
// asks for it is copied into the receiver's inbox, up to a bounded amount for each pair of ranks; a
// longer one makes its sender wait.
//
// There is no goroutine behind a transport, and no allocation for a message in steady traffic.
package inproc

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

// Transport is one rank's end. See [transport.Transport] for its contract.
type Transport struct {
	world *world
	rank  transport.Rank
	wire  atomic.Uint64
	close sync.Once

	program transport.Program                                 // guarded by world.mu
	onSlow  func(*group, time.Duration) (again time.Duration) // slow, made once
}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Exchanger = (*Transport)(nil)
	_ transport.Describer = (*Transport)(nil)
	_ transport.Counter   = (*Transport)(nil)
	_ transport.Watcher   = (*Transport)(nil)
	_ transport.Aborter   = (*Transport)(nil)
)

// Rank is this end's number.
func (t *Transport) Rank() transport.Rank { return t.rank }

// Size is the number of ranks.
func (t *Transport) Size() int { return len(t.world.inboxes) }

// Capabilities states that ranks live in one process, and that a lost one ([Transport.Abort]) is
// reported.
func (t *Transport) Capabilities() transport.Capabilities {
	return transport.Capabilities{Name: "inproc", SurvivesPeerLoss: true}
}

// WireBytes is the number of payload bytes sent to other ranks.
func (t *Transport) WireBytes() uint64 { return t.wire.Load() }

// Send sends the concatenation of bufs to rank to under tag. See [transport.Transport].
func (t *Transport) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	t.check("Send", to)
	at := place{"send", to}
	if ctx.Err() != nil {
		return t.ended(ctx, at)
	}
	g := t.begin(1)
	defer t.world.end(g)
	if err := t.world.inboxes[to].send(g, int(t.rank), tag, maxEager, bufs); err != nil {
		g.abandon()
		return t.failed(err, at)
	}
	if _, why := g.wait(ctx, t.world.timeout); why != nil {
		return t.gaveUp(ctx, why, at)
	}
	if _, err := g.result(0); err != nil {
		return t.failed(err, at)
	}
	t.count(to, bufs)
	return nil
}

// Recv receives the next message of rank from under tag into bufs, and returns its length in bytes.
// See [transport.Transport].
func (t *Transport) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (int, error) {
	t.check("Recv", from)
	at := place{"recv", from}
	if ctx.Err() != nil {
		return 0, t.ended(ctx, at)
	}
	g := t.begin(1)
	defer t.world.end(g)
	if err := t.world.inboxes[t.rank].recv(g, int(from), tag, bufs); err != nil {
		g.abandon()
		return 0, t.failed(err, at)
	}
	if _, why := g.wait(ctx, t.world.timeout); why != nil {
		return 0, t.gaveUp(ctx, why, at)
	}
	n, err := g.result(0)
	if err != nil {
		return 0, t.failed(err, at)
	}
	return n, nil
}

// Close ends this rank's part in the job. See [transport.Transport].
func (t *Transport) Close() error {
	t.close.Do(func() { t.world.leave(t.rank) })
	return nil
}

// Abort ends the job in disorder, as the death of this rank's process would: every pending and
// later call of every rank returns an error that names this rank, and finds [transport.ErrPeerDead]
// and cause (which may be nil) beneath it. It is for a rank that cannot go on, such as one that has
// panicked. After Close, or once the job is broken already, it does nothing.
func (t *Transport) Abort(cause error) {
	err := transport.ErrPeerDead
	if cause != nil {
		err = fmt.Errorf("%w: %w", transport.ErrPeerDead, cause)
	}
	t.world.abort(&transport.Error{Rank: t.rank, Op: "abort", Err: err})
}

// check panics if r is no rank of the job.
func (t *Transport) check(call string, r transport.Rank) {
	if r < 0 || int(r) >= t.Size() {
		panic(fmt.Sprintf("inproc: %s: rank %d outside 0..%d", call, r, t.Size()-1))
	}
}

func (t *Transport) count(to transport.Rank, bufs [][]byte) {
	if to == t.rank {
		return
	}
	t.wire.Add(uint64(rows.SizeOf(bufs)))
}
