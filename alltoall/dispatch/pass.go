package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/internal/rows"
	"github.com/switchyard-moe/switchyard/transport"
)

// Pass is one batch of tokens at their experts. Its methods are called in the order
//
//	Dispatch, Combine, CombineBackward, DispatchBackward, Release
//
// and may end early, with Release; all ranks do the same. What they return belongs to the pass
// until Release, and its memory then serves later passes.
//
// It keeps until Release: Rows and y; the answers that came back, a row for each token and expert
// that it chose; after the backward calls as many rows again of gradients, and dx; and with
// compression a copy of the rows before it and their answers.
type Pass struct {
	d      *Dispatcher
	state  lifecycle.Pass
	done   step
	fault  passcheck.Fault
	tokens int
	slots  int // len(indices)
	*memory
}

// step is how far a pass has come.
type step int

const (
	begun step = iota
	dispatched
	combined
	combinedBack
	dispatchedBack
)

// String names the last call of a pass.
func (s step) String() string {
	return [...]string{"NewPass", "Dispatch", "Combine", "CombineBackward", "DispatchBackward"}[s]
}

// memory is what a pass works in, and what later ones use again.
type memory struct {
	exchange *alltoall.Exchange
	comm     *collective.Comm
	handle   *alltoall.Handle

	compressed *compression.Pass // nil if rows travel as they are

	routes
	index   rows.Index // the entries of each token
	rows    blas32.General
	ends    []int
	y, dx   blas32.General
	answers blas32.General // by entry, in the handle's memory or that of compressed
	leaving blas32.General // the gradients of answers, by entry
	dentry  []float32      // the gradients of weights, by entry
	dweight []float32      // and as the caller's lists
	stray   blas32.General // scratch
}

// open takes memory for pass p.
func (p *Pass) open() {
	d := p.d
	if p.memory = d.free.Take(); p.memory == nil {
		p.memory = new(memory)
	}
	n := p.state.Number()
	p.exchange, p.comm = d.exchange.Pass(n), d.comm.Pass(n)
}

// end ends the pass, by a method.
func (p *Pass) end(op string) {
	p.state.End(op)
	p.close()
	p.d.compression.Close()
}

// close gives the memory of the pass to later ones.
func (p *Pass) close() {
	m := p.memory
	if p.memory = nil; m == nil {
		return
	}
	if m.handle != nil {
		m.handle.Release()
	}
	if m.compressed != nil {
		m.compressed.Release()
	}
	m.exchange.End()
	m.comm.End()
	m.compressed, m.handle, m.exchange, m.comm, m.rows, m.answers = nil, nil, nil, nil, blas32.General{}, blas32.General{}
	p.d.free.Give(m)
}

// call runs do as the method op, which follows the step from and ends with the step from + 1. fits
// says what is wrong with what the caller gave, before anything is done.
func (p *Pass) call(ctx context.Context, op string, from step, fits, do func() error) error {
	if p == nil || p.d == nil {
		return fmt.Errorf("dispatch: %s: the pass was not made by a dispatcher", op)
	}
	if err := p.state.Enter(ctx, op); err != nil {
		return err
	}
	defer p.state.Leave()
	if p.done != from {
		return p.state.Misuse(op, "called after %v, want it after %v", p.done, from)
	}
	if err := fits(); err != nil {
		return p.state.Misuse(op, "%w", err)
	}
	if err := p.state.Attempt(op, do); err != nil {
		p.end(op)
		return err
	}
	p.done++
	return nil
}

// Dispatch sends tokens, the rows of x, to their experts. Token t goes to the k experts
// indices[t·k] up to indices[t·k+k−1], each different, in any order; −1 names none. weights are the
// factors of their answers, in the same places; those of −1 are ignored. k is what the lengths say:
// len(indices) divided by the rows of x. A token without experts is not read, and Combine gives it
// zeros.
//
// x, indices and weights are read until Dispatch returns.
func (p *Pass) Dispatch(ctx context.Context, x blas32.General, indices []int32, weights []float32) error {
	return p.begin(ctx, "Dispatch", p != nil && p.d != nil && p.d.compression != nil, x, indices, weights)
}

// DispatchExact is Dispatch without [Config].Compression, for evaluation. Some ranks may compress
// and others not.
func (p *Pass) DispatchExact(ctx context.Context, x blas32.General, indices []int32, weights []float32) error {
	return p.begin(ctx, "DispatchExact", false, x, indices, weights)
}

// begin is Dispatch, with rows that are compressed or not.
func (p *Pass) begin(ctx context.Context, op string, compress bool, x blas32.General, indices []int32, weights []float32) error {
	return p.call(ctx, op, begun, func() error { return nil }, func() error {
		p.open()
		if err := p.route(x, indices, weights); err != nil {
			return p.refuse(ctx, op, err)
		}
		r, err := p.request(ctx, x, compress)
		if err != nil {
			return err
		}
		if err := p.d.checkRows(r.Counts); err != nil {
			return p.refuse(ctx, op, err)
		}
		return p.dispatch(ctx, r)
	})
}

// request is the rows that travel: those of x, or their centroids.
func (p *Pass) request(ctx context.Context, x blas32.General, compress bool) (r alltoall.Request, err error) {
	leaves := min(x.Rows, 1)
	r = alltoall.Request{
		Counts: alltoall.Counts{Tokens: x.Rows, Leaves: leaves, Rows: p.counts[:len(p.counts)*leaves]},
		Rows:   x, Token: p.token,
	}
	if !compress {
		return r, nil
	}
	p.compressed, err = p.d.compression.Begin(ctx, p.state.Number(), p.uncompressed(r.Counts, x))
	if err != nil {
		return r, err
	}
	r.Counts, r.Rows, r.Token = p.compressed.Counts, p.compressed.Centroids, nil
	return r, nil
}

// uncompressed describes the rows before they are compressed.
func (p *Pass) uncompressed(counts alltoall.Counts, x blas32.General) compression.Rows {
	return compression.Rows{Counts: counts, Order: func(to blas32.General) {
		for i, t := range p.token {
			copy(mat.Row(to, i), mat.Row(x, int(t)))
		}
	}}
}

// refuse has the dispatch fail on every rank because of cause.
func (p *Pass) refuse(ctx context.Context, op string, cause error) error {
	if err := p.exchange.Refuse(ctx); err != nil {
		return errors.Join(cause, err)
	}
	return p.state.Misuse(op, "%w: %w", alltoall.ErrRefused, cause)
}

// dispatch moves rows.
func (p *Pass) dispatch(ctx context.Context, r alltoall.Request) (err error) {
	if p.handle, err = p.exchange.Begin(ctx, r); err != nil {
		return err
	}
	if p.rows, _, err = p.handle.Dispatch(ctx, 0); err != nil {
		return err
	}
	plan := p.handle.Plan()
	p.ends = mat.Reuse(p.ends, plan.Experts)
	for e := range p.ends {
		last := plan.Segment(e, plan.Ranks()-1)
		p.ends[e] = last.First + last.Rows
	}
	p.d.checks.Arrived(&p.fault, passcheck.Rows, p.rows, p.sender)
	return nil
}

// route checks what the caller gives, and sorts it by expert.
func (p *Pass) route(x blas32.General, indices []int32, weights []float32) error {
	if err := checkShape("x", x, max(x.Rows, 0), p.d.cfg.Dim); err != nil {
		return err
	}
	if err := p.set(p.d.cfg.Experts, x.Rows, indices, weights); err != nil {
		return err
	}
	p.tokens, p.slots = x.Rows, len(indices)
	p.index.Set(x.Rows, p.token)
	if t, j := passcheck.Infinite(p.read(x)); t >= 0 {
		return fmt.Errorf("%w: token %d, column %d of x is %v", alltoall.ErrNotFinite, t, j, mat.Row(x, t)[j])
	}
	return nil
}

// read returns what is read of m, which has a row a token: what stands in rows of tokens that go to
// no expert does not count.
func (p *Pass) read(m blas32.General) blas32.General {
	if t, _ := passcheck.Infinite(m); t < 0 {
		return m
	}
	p.stray = p.routed(m, p.stray)
	return p.stray
}

// sender and host are the ranks that a row came from and that has the expert of an entry.
func (p *Pass) sender(row int) transport.Rank { return transport.Rank(p.handle.Plan().Sender(row)) }
func (p *Pass) host(entry int) transport.Rank { return transport.Rank(p.handle.Plan().Host(entry)) }

// Rows are those that came for the experts hosted here, packed: sorted by expert, and within an
// expert in the order of the tokens of all ranks, rank by rank. They may be written to. Before
// Dispatch and after Release there are none.
func (p *Pass) Rows() blas32.General {
	if p.memory == nil {
		return blas32.General{}
	}
	return p.rows
}

// Ends has an entry for each expert hosted here: where its rows end. They begin where those of the
// expert before end. It must not be changed.
func (p *Pass) Ends() []int {
	if p.memory == nil {
		return nil
	}
	return p.ends
}

// Plan says which rank each row came from, and how many went where; nil before Dispatch and after
// Release. It must not be changed.
func (p *Pass) Plan() *alltoall.Plan {
	if p.memory == nil || p.handle == nil {
		return nil
	}
	return p.handle.Plan()
}

// Combine sends the answers to Rows, as many rows of as many columns in the same order, back to
// their tokens. Row t of y is the sum of the answers to token t, each times its weight, added from
// zero in ascending order of experts; a token without experts gets zeros. answers are read until
// Combine returns.
func (p *Pass) Combine(ctx context.Context, answers blas32.General) (y blas32.General, err error) {
	err = p.call(ctx, "Combine", dispatched, func() error {
		return checkShape("answers", answers, p.rows.Rows, p.d.cfg.Dim)
	}, func() error {
		back, err := p.home(ctx, leg{"forward", passcheck.Answers, passcheck.RowAnswers}, answers)
		if err != nil {
			return err
		}
		if p.answers, err = p.d.compression.Restore(ctx, p.compressed, back); err != nil {
			return err
		}
		p.y = mat.Resize(p.y, p.tokens, p.d.cfg.Dim)
		rows.Sum(p.y, p.answers, &p.index, p.weight)
		y = p.y
		return nil
	})
	return y, err
}

// leg is the way of answers, or of gradients of rows, to where the rows came from.
type leg struct {
	op            string
	made, arrived passcheck.Kind
}

// home sends m, which has a row for each of Rows, to where those came from, and returns what comes
// back for this rank's entries.
func (p *Pass) home(ctx context.Context, l leg, m blas32.General) (back blas32.General, err error) {
	p.d.checks.Made(&p.fault, l.made, m)
	m = p.packed(m) // even if it is not finite: the other ranks count on its rows
	err = p.share(ctx, l.op, func() (err error) {
		if back, err = p.handle.Combine(ctx, 0, m); err == nil {
			p.d.checks.Arrived(&p.fault, l.arrived, back, p.host)
		}
		return err
	})
	return back, err
}

// packed returns m, or a copy of it that is packed.
func (p *Pass) packed(m blas32.General) blas32.General {
	if m.Stride == m.Cols {
		return m
	}
	p.stray = mat.Resize(p.stray, m.Rows, m.Cols)
	mat.Copy(p.stray, m)
	return p.stray
}

// share runs move, which moves rows, and tells all ranks what was found in the pass: meanwhile, or
// after it if what has arrived is checked too.
func (p *Pass) share(ctx context.Context, op string, move func() error) error {
	if p.d.cfg.Wire.Finite {
		if err := move(); err != nil {
			return err
		}
		return p.d.checks.Share(ctx, p.comm, op, &p.fault)()
	}
	heard := p.d.checks.Share(ctx, p.comm, op, &p.fault)
	err := move()
	return cmp.Or(err, heard())
}

// Release ends the pass, and gives its memory to later ones. Nothing that belongs to the pass may
// be used afterwards. It may be called again, and after an error; it is an error while another
// method of the pass runs, and then does nothing.
func (p *Pass) Release() error {
	const op = "Release"
	if p == nil || p.d == nil {
		return nil
	}
	if err := p.state.Enter(context.Background(), op); err != nil {
		if errors.Is(err, ErrInUse) {
			return err
		}
		p.close() // the dispatcher has failed, or the pass has ended
		return nil
	}
	defer p.state.Leave()
	p.end(op)
	return nil
}
