package switchyard

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/transport"
)

// What is checked: that what the program gives, x and dy, is finite in every row that is not padding, whatever the gate,
// and the scores of a gate. What is not: what experts make of it, unless [alltoall.Wire.Finite] says so; an
// expert whose answer overflows gives y an infinity, which the loss shows. A rank that finds something late in a pass lets
// its rows travel, since others wait for them, and tells of it beside.

// infinite returns the first row of m that holds a NaN or an infinity, and where in it, or −1.
func infinite(m blas32.General) (row, column int) {
	if m.Rows > 0 && m.Stride == m.Cols && f32.Finite(m.Data[:m.Rows*m.Cols]) {
		return -1, 0
	}
	for t := range m.Rows {
		line := mat.Row(m, t)
		if f32.Finite(line) {
			continue
		}
		for j, v := range line {
			if v-v != 0 {
				return t, j
			}
		}
	}
	return -1, 0
}

// checkGradient looks through dy, and notes the first row that is not finite.
func (l *Layer) checkGradient(p *pass, dy blas32.General) {
	if t, j := infinite(dy); t >= 0 {
		p.wrong = l.notFinite("backward", "row %d, column %d of dy is %v", t, j, mat.Row(dy, t)[j])
		p.word = uint64(t) + 1
	}
}

// These stand in place of the row of dy where what a rank has made is not finite, or its Compression.Assign failed.
const (
	made       = 1 << 62
	unassigned = 1<<62 + 1
)

// checkMade looks through what this rank has made on its way of a pass, under [alltoall.Wire.Finite], and notes the first number that is
// not finite. The rows travel all the same, as others wait for them.
func (l *Layer) checkMade(p *pass, op, what string, list ...blas32.General) {
	if !l.cfg.Wire.Finite || p.wrong != nil {
		return
	}
	for _, m := range list {
		if r, j := infinite(m); r >= 0 {
			p.wrong = l.notFinite(op, "row %d, column %d of %s is %v", r, j, what, mat.Row(m, r)[j])
			p.word = made
			return
		}
	}
}

// noteUnassigned notes that Compression.Assign has made no clusters.
func (l *Layer) noteUnassigned(p *pass, err error) {
	p.wrong = &transport.Error{Rank: l.world.joined(l.world.Rank()), Op: "forward",
		Err: fmt.Errorf("%w: Config.Compression.Assign: %w", alltoall.ErrRefused, err)}
	p.word = unassigned
}

// tells tells whether the ranks tell each other at the end of a forward pass what they have noted.
func (l *Layer) tells() bool { return l.cfg.Wire.Finite || l.cfg.Compression.Assign != nil }

// notFinite is an error of this rank.
func (l *Layer) notFinite(op, format string, args ...any) error {
	return l.blamed(l.world.Rank(), op, fmt.Sprintf(format, args...))
}

func (l *Layer) blamed(r transport.Rank, op, what string) error {
	return &transport.Error{Rank: l.world.joined(r), Op: op, Err: fmt.Errorf("%w: %w: %s", alltoall.ErrRefused, alltoall.ErrNotFinite, what)}
}

// tell tells all ranks, while rows travel, what this rank has noted of the pass, and returns what waits for what they tell: the error
// of the pass on every rank if one of them has noted anything. It names the first rank that has; there, and on others that have, their own.
//
// Direct: 8 bytes to each other rank, once a backward pass; under Wire.Finite once a forward pass too.
func (l *Layer) tell(ctx context.Context, op string, p *pass) (heard func() error) {
	size, own := l.world.Size(), p.wrong
	mine := binary.LittleEndian.AppendUint64(nil, p.word)
	if size == 1 {
		return func() error { return own }
	}
	all, done := make([]byte, size*len(mine)), make(chan error, 1)
	go func() { done <- l.checks.AllGather(ctx, all, mine) }()
	return func() error {
		if err := <-done; err != nil {
			return errtext.Errorf("switchyard: %s: what the ranks say of the pass: %w", op, err)
		}
		return cmp.Or(own, l.blame(op, all))
	}
}

// blame returns an error if one of the ranks has told of a number that is not finite.
func (l *Layer) blame(op string, told []byte) error {
	for r := range len(told) / 8 {
		switch word := binary.LittleEndian.Uint64(told[8*r:]); word {
		case 0:
		case made:
			return l.blamed(transport.Rank(r), op, "in what its experts made; its own error says where")
		case unassigned:
			return &transport.Error{Rank: l.world.joined(transport.Rank(r)), Op: op,
				Err: fmt.Errorf("%w: its Config.Compression.Assign failed; its own error says why", alltoall.ErrRefused)}
		default:
			return l.blamed(transport.Rank(r), op, fmt.Sprintf("row %d of its dy", word-1))
		}
	}
	return nil
}

// dropGradients forgets what the pass under way has entered into the sums of gradients.
func (l *Layer) dropGradients() {
	for _, set := range l.experts.Params() {
		if set != nil {
			set.Grad.Reset()
		}
	}
	if set := l.shared.Params(); set != nil {
		set.Grad.Reset()
	}
	if set := l.compression.Gains(); set != nil {
		set.Grad.Reset()
	}
}

// wire is the format of rows for the exchange. The layer looks for what is not finite by itself: an exchange can only refuse alone.
func (l *Layer) wire() alltoall.Wire {
	w := l.cfg.Wire
	w.Finite = false
	return w
}
