package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/agreement"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/transport"
)

var (
	// ErrFailed is beneath the error that ended a dispatcher and beneath the errors of all calls
	// after it. An error without it has left the dispatcher as it was before the call.
	ErrFailed = lifecycle.ErrFailed
	// ErrInUse is beneath the error of a call that was made while another goroutine was in a method
	// of the same dispatcher. The call has done nothing.
	ErrInUse = lifecycle.ErrInUse
)

// mostRows is the most that rows are counted to.
const mostRows = math.MaxInt32

// Dispatcher is one rank's part in moving tokens to their experts and answers back. All ranks call
// its methods, and those of its passes, in the same order; any rank may have any number of tokens,
// none included. One goroutine at a time may be in a method; another gets [ErrInUse].
//
// # After an error
//
// A call that does not fit (a matrix of another shape, out of order, a context that has ended)
// has done nothing, and may be made again as it should be: the other ranks wait for it. What the
// tokens of a rank, the answers of its experts and the gradients hold is checked where they are
// given: a NaN or an infinity, an expert that there is not, one that a token names twice, more rows
// than MaxRows is an error on every rank ([alltoall.ErrRefused]) that names the rank, and on that
// rank the token or row, the value and the limit. The pass has then ended on every rank, and the
// next can begin. After any other error, such as that of a rank that died, the dispatcher has ended
// and every later call returns [ErrFailed].
type Dispatcher struct {
	t         transport.Transport
	cfg       Config
	placement alltoall.Placement
	exchange  *alltoall.Exchange
	comm      *collective.Comm
	checks    *passcheck.Stage
	guard     *lifecycle.Guard

	mu    sync.Mutex
	ended []*memory // of passes that have been released, with their handles
	free  []*memory
	stray blas32.General // scratch: what leaves in a backward pass, or zeros in the place of a fault
}

// New makes a dispatcher on t, which must carry nothing else: one end of a transport, or a view
// (World.View, [transport.Sub]). t stays the caller's to close. All ranks of t call it; one that
// has another configuration is an error on every rank that names it and the field.
func New(ctx context.Context, t transport.Transport, cfg Config) (*Dispatcher, error) {
	if err := checkTransport(t); err != nil {
		return nil, err
	}
	joined := func(r transport.Rank) transport.Rank { return transport.Joined(t, r) }
	comm := collective.New(t) // its tags are others than those of an exchange
	faults := cfg.Validate(t.Size())
	ranks := agreement.Ranks{Comm: comm, Joined: joined, Op: "dispatch.New"}
	if err := ranks.Compare(ctx, cfg.settings()); err != nil {
		return nil, cmp.Or(faults, err)
	}
	if faults != nil {
		return nil, faults
	}
	exchange, err := alltoall.New(t, cfg.exchange(t.Size()))
	if err != nil {
		return nil, err
	}
	return &Dispatcher{
		t: t, cfg: cfg, placement: cfg.placement(t.Size()), exchange: exchange, comm: comm,
		checks: passcheck.New(passcheck.Config{
			Ranks: t.Size(), Rank: t.Rank(), Joined: joined, Wire: checked(cfg.Wire),
		}),
		guard: lifecycle.New(lifecycle.Config{
			Rank: joined(t.Rank()), Name: "the dispatcher",
			Begin: func(string) func(error) error { return func(err error) error { return err } },
			Ended: func(error) {},
		}),
	}, nil
}

// checked is the formats by which rows are checked: what the caller gives always is, as float32,
// and what has travelled only under Wire.Finite.
func checked(w alltoall.Wire) alltoall.Wire {
	if w.Finite {
		return w
	}
	return alltoall.Wire{Finite: true}
}

// Hosted returns the half-open range of the experts of this rank.
func (d *Dispatcher) Hosted() (begin, end int) { return d.placement.Of(int(d.t.Rank())) }

// Dispatch sends tokens, the rows of x, to their experts. Token t goes to the k experts
// indices[t·k] up to indices[t·k+k−1], each different, in any order; −1 names none. weights are the
// factors of their answers, in the same places; those of −1 are ignored. k is what the lengths say:
// len(indices) divided by the rows of x. A token without experts is not read, and Combine gives it
// zeros.
//
// x, indices and weights are read until Dispatch returns. The pass must be released.
func (d *Dispatcher) Dispatch(ctx context.Context, x blas32.General, indices []int32, weights []float32) (
	*Pass, error,
) {
	if d == nil {
		return nil, errors.New("dispatch: Dispatch: the dispatcher was not made by New")
	}
	if err := d.guard.Enter(ctx, "Dispatch"); err != nil {
		return nil, err
	}
	defer d.guard.Leave()
	p := &Pass{d: d, memory: d.take(), done: dispatched}
	if err := d.guard.Attempt("Dispatch", func() error { return p.dispatch(ctx, x, indices, weights) }); err != nil {
		p.Release()
		return nil, err
	}
	return p, nil
}

// refuse has the dispatch fail on every rank because of cause.
func (d *Dispatcher) refuse(ctx context.Context, cause error) error {
	if err := d.exchange.Refuse(ctx); err != nil {
		return errors.Join(cause, err)
	}
	return &transport.Error{
		Rank: transport.Joined(d.t, d.t.Rank()), Op: "Dispatch",
		Err: fmt.Errorf("%w: %w", alltoall.ErrRefused, cause),
	}
}

// checkRows returns an error if a rank would get more rows of this one than it takes.
func (d *Dispatcher) checkRows(counts []int) error {
	most := cmp.Or(d.cfg.MaxRows, alltoall.DefaultMaxRows)
	for r := range d.placement.Ranks() {
		begin, end := d.placement.Of(r)
		rows := 0
		for _, n := range counts[begin:end] {
			rows += n
		}
		if rows > most {
			return fmt.Errorf("%w: %d rows for rank %d, MaxRows is %d", transport.ErrTooLarge, rows,
				transport.Joined(d.t, transport.Rank(r)), most)
		}
	}
	return nil
}

// take returns memory for a pass, and takes back that of passes that have been released.
func (d *Dispatcher) take() *memory {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.ended {
		m.release()
		d.free = append(d.free, m)
	}
	d.ended = d.ended[:0]
	if last := len(d.free) - 1; last >= 0 {
		m := d.free[last]
		d.free = d.free[:last]
		return m
	}
	return new(memory)
}
