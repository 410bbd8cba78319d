package inproc

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// DefaultOpTimeout is how long one operation may take where [Config] does not say.
	DefaultOpTimeout = transport.DefaultOpTimeout
	// DefaultBufferBytes is how much of one pair's unasked-for messages is kept where [Config] does
	// not say.
	DefaultBufferBytes = 1 << 20
	// maxEager is the length up to which a message may be copied twice to spare its sender the
	// wait. Beyond it the second copy costs more than the wait.
	maxEager = 64 << 10
	// exchangeEager is the same within an exchange, which waits in any case: only what takes less
	// time to copy than to wake a goroutine for is worth it.
	exchangeEager = 8 << 10
)

// Config describes a job. Zero fields take their defaults, but Ranks must be given.
type Config struct {
	// Ranks is the number of ranks, at least 1.
	Ranks int
	// OpTimeout bounds every operation; one that takes longer breaks the job with
	// [transport.ErrTimeout]. Zero means [DefaultOpTimeout], negative no bound.
	OpTimeout time.Duration
	// BufferBytes bounds the messages kept for a receiver that has not asked for them, for each
	// pair of ranks; each message counts 64 bytes beyond its length. Zero means
	// [DefaultBufferBytes], negative none.
	BufferBytes int
}

// Validate reports every fault of c.
func (c Config) Validate() error {
	var faults []error
	if c.Ranks < 1 {
		faults = append(faults, fmt.Errorf("inproc: Config.Ranks is %d, want at least 1", c.Ranks))
	}
	return errors.Join(faults...)
}

func (c Config) withDefaults() Config {
	if c.OpTimeout == 0 {
		c.OpTimeout = DefaultOpTimeout
	}
	if c.BufferBytes == 0 {
		c.BufferBytes = DefaultBufferBytes
	}
	return c
}

// New opens a job of n ranks with the default [Config]. Element r of the result is rank r's end. It
// panics if n is less than 1.
func New(n int) []*Transport {
	ranks, err := Open(Config{Ranks: n})
	if err != nil {
		panic(err.Error())
	}
	return ranks
}

// Open opens a job as c describes it. Element r of the result is rank r's end. It returns an error
// if c is invalid.
func Open(c Config) ([]*Transport, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	w := &world{timeout: c.OpTimeout, inboxes: make([]*inbox, c.Ranks), gone: make([]bool, c.Ranks)}
	w.slow = make(map[*group]slowWait)
	w.groups.New = func() any { return new(group) }
	ranks := make([]*Transport, c.Ranks)
	for r := range ranks {
		w.inboxes[r] = newInbox(r, c.Ranks, c.BufferBytes)
		ranks[r] = &Transport{world: w, rank: transport.Rank(r)}
		ranks[r].onSlow = ranks[r].slow
	}
	w.ranks = ranks
	return ranks, nil
}

// world is what the ranks of a job share.
type world struct {
	timeout time.Duration
	ranks   []*Transport
	inboxes []*inbox  // by receiver
	groups  sync.Pool // of *group

	mu     sync.Mutex // never taken while an inbox is locked
	broken *transport.Error
	gone   []bool

	watched atomic.Bool // a rank has a program
	slowMu  sync.Mutex  // taken before that of an inbox
	slow    map[*group]slowWait
}

func (t *Transport) begin(ops int) *group {
	g := t.world.groups.Get().(*group)
	g.begin(ops)
	g.slow = nil
	if t.world.watched.Load() {
		g.slow = t.onSlow
	}
	return g
}

func (w *world) end(g *group) {
	w.awake(g)
	g.end()
	w.groups.Put(g)
}

// fail breaks the job for all ranks and returns what it is broken with: the first failure wins, so
// that all ranks name the same culprit.
func (w *world) fail(err *transport.Error) *transport.Error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = err
		for _, b := range w.inboxes {
			b.fail(err)
		}
	}
	return w.broken
}

// abort breaks the job on behalf of a rank that is still part of it.
func (w *world) abort(err *transport.Error) {
	w.mu.Lock()
	gone := w.gone[err.Rank]
	w.mu.Unlock()
	if !gone {
		w.fail(err)
	}
}

// leave takes rank r out of the job in good order. If somebody was waiting for r, that breaks the
// job.
func (w *world) leave(r transport.Rank) {
	w.mu.Lock()
	w.gone[r] = true
	w.mu.Unlock()
	op := ""
	if w.inboxes[r].close() {
		op = "send"
	}
	for _, b := range w.inboxes {
		if b.leave(int(r)) {
			op = "recv"
		}
	}
	if op != "" {
		w.fail(&transport.Error{Rank: r, Op: op, Err: transport.ErrPeerClosed})
	}
}

// fault returns what the job is broken with, or nil.
func (w *world) fault() *transport.Error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}
