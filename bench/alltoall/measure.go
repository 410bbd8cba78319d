package alltoall

import (
	"context"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/payload"
)

// exchange sends the r-th of ranks equal blocks of send to rank r, and gets the r-th block of recv
// from it.
type exchange func(ctx context.Context, send, recv []byte) error

// timing is what one rank saw of a step.
type timing struct {
	bytes int
	wrong int
	took  []time.Duration // of each timed iteration
}

// rank is a rank's place in the world, with the buffers it reuses for every step.
type rank struct {
	me, ranks  int
	send, recv []byte
}

// newRank returns a rank with room for the largest of steps, in memory from alloc.
func newRank(me, ranks int, steps []step, alloc func(n int) []byte) *rank {
	largest := 0
	for _, s := range steps {
		largest = max(largest, s.bytes)
	}
	r := &rank{me: me, ranks: ranks, send: alloc(payload.Length(ranks * largest)), recv: alloc(ranks * largest)}
	payload.Fill(r.send, me)
	return r
}

// measure runs steps one after the other.
func (r *rank) measure(ctx context.Context, steps []step, x exchange) ([]timing, error) {
	timings := make([]timing, len(steps))
	for i, s := range steps {
		var err error
		if timings[i], err = r.step(ctx, s, x); err != nil {
			return nil, err
		}
	}
	return timings, nil
}

// step runs the iterations of s back to back, as an all-to-all makes ranks wait for each other by
// itself. Timed is the exchange alone; bytes are checked in between, all of them in the first and
// the last iteration.
func (r *rank) step(ctx context.Context, s step, x exchange) (timing, error) {
	total := s.warmup + s.iterations
	length := r.ranks * s.bytes
	took := make([]time.Duration, total)
	t := timing{bytes: s.bytes, took: took[s.warmup:]}
	recv := r.recv[:length]
	for i := range total {
		send := r.send[payload.Offset(i):][:length]
		start := time.Now()
		err := x(ctx, send, recv)
		took[i] = time.Since(start)
		if err != nil {
			return t, err
		}
		t.wrong += r.wrong(recv, i, i == 0 || i == total-1)
	}
	return t, nil
}

// wrong counts the wrong bytes that an iteration left in recv, among all of them or among a few of
// each block.
func (r *rank) wrong(recv []byte, iteration int, all bool) (wrong int) {
	bytes := len(recv) / r.ranks
	position := payload.Offset(iteration) + r.me*bytes
	for sender := range r.ranks {
		block := recv[sender*bytes:][:bytes]
		if all {
			wrong += payload.Check(block, sender, position)
		} else {
			wrong += payload.Probe(block, sender, position)
		}
	}
	return wrong
}
