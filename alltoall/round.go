package alltoall

import (
	"context"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// round is the messages of one round of an exchange, and the memory for what is sent in them
// besides rows. It is used again from round to round, so that none allocates.
type round struct {
	sends, recvs []transport.Message
	bufs         [][]byte
	words        []byte
	ints         []int
	dedup        bool // messages are a prefix, then rows, which need not cross to a node twice
	sized        bool // receivers do not know the lengths of messages, which travel with them
	digests      bool // messages begin with the digest of their sender's allocation
	digest       uint64
	narrow       []arrivingRows
	fault        error // of a codec, for which nothing is sent
}

// begin takes the memory back.
func (r *round) begin() { r.words, r.ints = r.words[:0], r.ints[:0] }

// end drops the messages, and with them all references to the memory of others.
func (r *round) end() {
	clear(r.sends)
	clear(r.recvs)
	clear(r.bufs)
	clear(r.narrow)
	r.narrow = r.narrow[:0]
	r.sends, r.recvs, r.bufs, r.fault = r.sends[:0], r.recvs[:0], r.bufs[:0], nil
	r.dedup, r.sized, r.digests = false, false, false
}

// takeBytes returns n bytes of any value, which stay until the next begin.
func (r *round) takeBytes(n int) []byte { return take(&r.words, n) }

// takeInts returns n numbers of any value, which stay until the next begin.
func (r *round) takeInts(n int) []int { return take(&r.ints, n) }

// take returns the next n elements of an arena. If it is full a larger one replaces it, and what
// was taken of the old one stays as it is.
func take[T any](arena *[]T, n int) []T {
	if cap(*arena)-len(*arena) < n {
		*arena = make([]T, 0, max(2*cap(*arena), n))
	}
	begin := len(*arena)
	*arena = (*arena)[:begin+n]
	return (*arena)[begin : begin+n : begin+n]
}

// list returns the list of the buffers from number begun on.
func (r *round) list(begun int) [][]byte { return r.bufs[begun:len(r.bufs):len(r.bufs)] }

// one returns a list of one buffer.
func (r *round) one(buf []byte) [][]byte {
	r.bufs = append(r.bufs, buf)
	return r.list(len(r.bufs) - 1)
}

// send and recv add a message to the round.
func (x *Exchange) send(to int, bufs [][]byte) {
	x.round.sends = append(x.round.sends, x.message(to, bufs))
}

func (x *Exchange) recv(from int, bufs [][]byte) {
	x.round.recvs = append(x.round.recvs, x.message(from, bufs))
}

func (x *Exchange) message(peer int, bufs [][]byte) transport.Message {
	return transport.Message{Peer: transport.Rank(peer), Tag: x.tag(), Bufs: bufs}
}

// Uniform is one round by algorithm a, which must not be Auto, as a measurement of it: it sends out
// to every other rank, and receives as many bytes from rank r into those of in from r·len(out) on.
// All ranks give the same algorithm and length.
func (x *Exchange) Uniform(ctx context.Context, a Algorithm, out, in []byte) error {
	x.seq++
	x.now = a
	x.round.begin()
	defer x.round.end()
	for i := 1; i < x.size(); i++ {
		r := x.next(i)
		x.send(r, x.round.one(out))
		x.recv(r, x.round.one(in[r*len(out):][:len(out)]))
	}
	return x.run(ctx, "measuring")
}

// run carries out the round. An error says which one failed. It checks that rows came as announced.
func (x *Exchange) run(ctx context.Context, op string) error {
	if x.round.fault != nil {
		return x.codecFault(x.rank(), op, x.round.fault)
	}
	if x.now != Direct || x.round.sized {
		if err := x.runRelay(ctx, op, x.stepsOf(x.now)); err != nil {
			return err
		}
		if err := x.compareDigests(op); err != nil {
			return err
		}
		return x.widen(op)
	}
	if err := transport.Exchange(ctx, x.t, x.round.sends, x.round.recvs); err != nil {
		return x.failed(op, err)
	}
	if err := x.compareDigests(op); err != nil {
		return err
	}
	for _, m := range x.round.recvs {
		if want := length(m.Bufs); m.N != want {
			return x.fault(int(m.Peer), op, transport.ErrProtocol, "%d bytes, announced %d", m.N, want)
		}
	}
	return x.widen(op)
}

// failed is the error of what the transport could not exchange. Another rank may be in the first
// dispatch while this one still exchanges counts.
func (x *Exchange) failed(op string, err error) error {
	if (x.round.digests || x.round.sized) && errors.Is(err, transport.ErrTruncated) {
		if differ := x.compareDigests(op); differ != nil { // which have come, or are this rank's
			return differ
		}
		err = fmt.Errorf("%w: it sends a rank more rows than by the allocation of that; this is rank %d: %w",
			transport.ErrMismatch, transport.Joined(x.t, x.t.Rank()), err)
	}
	return errtext.Errorf("alltoall: %s #%d: %w", x.named(op), x.seq, err)
}

func length(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	return n
}

// stepsOf returns the steps of this rank in an algorithm.
func (x *Exchange) stepsOf(a Algorithm) []Step {
	if x.steps[a] == nil {
		x.steps[a] = a.Steps(x.chooser.topology, x.size(), x.rank())
	}
	return x.steps[a]
}
