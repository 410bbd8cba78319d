package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/agreement"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/freelist"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/transport"
)

var (
	// ErrFailed is beneath the error that ended a dispatcher and beneath the errors of all calls
	// after it. An error without it has left the dispatcher as it was before the call.
	ErrFailed = lifecycle.ErrFailed
	// ErrInUse is beneath the error of a call that was made while another goroutine was in a method
	// of the same pass, or made a pass too. The call has done nothing.
	ErrInUse = lifecycle.ErrInUse
)

// mostRows is the most that rows are counted to.
const mostRows = math.MaxInt32

// Dispatcher is one rank's part in moving tokens to their experts and answers back. All ranks make
// the same passes in the same order ([Dispatcher.NewPass], [Dispatcher.Dispatch]); any rank may
// have any number of tokens, none included.
//
// # Concurrency
//
// Any number of passes may be unfinished. Passes may run at the same time, each on a goroutine, and
// in another order on each rank: messages meet by the number of the pass. Two calls of one pass may
// not, nor may two goroutines make passes ([ErrInUse]).
//
// # After an error
//
// What is wrong with what Dispatch is given is an error on every rank ([alltoall.ErrRefused]) that
// names the rank, and on that rank the token, the value and the limit: a NaN or an infinity, an
// expert that there is not, one that a token names twice, lists or a matrix of another shape, more
// rows for a rank than MaxRows. So is a NaN or an infinity in what the calls after it are given.
// The pass has then ended on every rank, and others go on.
//
// One of those calls that does not fit (a matrix of another shape, out of order), and any call
// whose context has ended before, is an error on this rank, has done nothing, and may be made again
// as it should be: the other ranks wait for it.
//
// After any other error, such as that of a rank that died, the dispatcher has ended and every later
// call returns [ErrFailed].
type Dispatcher struct {
	t         transport.Transport
	cfg       Config
	placement alltoall.Placement
	exchange  *alltoall.Exchange // of which each pass has one
	comm      *collective.Comm
	checks    *passcheck.Stage
	guard     *lifecycle.Guard
	free      freelist.List[memory]

	compression *compression.Stage // nil if rows travel as they are
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
	placement := cfg.placement(t.Size())
	exchange, err := alltoall.New(t, cfg.exchange(placement))
	if err != nil {
		return nil, err
	}
	compressor, err := cfg.compressor(placement, int(t.Rank()))
	if err != nil {
		return nil, err
	}
	return &Dispatcher{
		t: t, cfg: cfg, placement: placement, exchange: exchange, comm: comm, compression: compressor,
		checks: passcheck.New(passcheck.Config{
			Ranks: t.Size(), Rank: t.Rank(), Joined: joined, Wire: checked(cfg.Wire),
		}),
		guard: lifecycle.New(lifecycle.Config{
			Rank: joined(t.Rank()), Name: "the dispatcher",
			Begin: unnoted{}.begin, Passes: unnoted{}, Ended: func(error) {},
		}),
	}, nil
}

// unnoted is the notes of operations that nobody keeps: a transport alone has no log of them.
type unnoted struct{}

func (unnoted) begin(string) func(error) error         { return func(err error) error { return err } }
func (unnoted) Begin(uint64, string) func(error) error { return func(err error) error { return err } }
func (unnoted) Made(uint64)                            {}
func (unnoted) Over(uint64)                            {}

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

// NewPass returns a new pass with the next number, in flight from now on until it is released.
// Every rank makes its passes in the same order. It sends nothing.
func (d *Dispatcher) NewPass() (*Pass, error) {
	if d == nil {
		return nil, errors.New("dispatch: the dispatcher was not made by New")
	}
	if err := d.guard.Enter(context.Background(), "NewPass"); err != nil {
		return nil, err
	}
	defer d.guard.Leave()
	p := &Pass{d: d}
	d.guard.Begin(&p.state, false)
	d.compression.Open()
	return p, nil
}

// Dispatch is NewPass and then [Pass.Dispatch] of the new pass, which must be released.
func (d *Dispatcher) Dispatch(ctx context.Context, x blas32.General, indices []int32, weights []float32) (
	*Pass, error,
) {
	if d != nil {
		if err := d.guard.Enter(ctx, "Dispatch"); err != nil {
			return nil, err // without a number, so that it can be called again
		}
		d.guard.Leave()
	}
	p, err := d.NewPass()
	if err != nil {
		return nil, err
	}
	if err := p.Dispatch(ctx, x, indices, weights); err != nil {
		return nil, err
	}
	return p, nil
}

// checkRows returns an error if a rank would get more rows of this one than it takes.
func (d *Dispatcher) checkRows(c alltoall.Counts) error {
	if c.Leaves == 0 {
		return nil
	}
	most := cmp.Or(d.cfg.MaxRows, alltoall.DefaultMaxRows)
	for r := range d.placement.Ranks() {
		begin, end := d.placement.Of(r)
		if rows := mat.Sum(c.Rows[begin:end]); rows > most {
			return fmt.Errorf("%w: %d rows for rank %d, MaxRows is %d", transport.ErrTooLarge, rows,
				transport.Joined(d.t, transport.Rank(r)), most)
		}
	}
	return nil
}
