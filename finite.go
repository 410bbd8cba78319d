package switchyard

import (
	"context"
	"encoding/binary"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/transport"
)

// What is checked: that what the program gives, x and dy, is finite in every row that is not padding, whatever the gate,
// and the scores of a gate. What is not: what experts make of it, unless [alltoall.Wire.Finite] says so; an
// expert whose answer overflows gives y an infinity, which the loss shows.

// infinite returns the first row of m that holds a NaN or an infinity, and where in it, or −1.
func infinite(m blas32.General) (row, column int) {
	if m.Rows > 0 && m.Stride == m.Cols && f32.Finite(m.Data[:m.Rows*m.Cols]) {
		return -1, 0
	}
	for t := range m.Rows {
		line := rowOf(m, t)
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

// checkInput returns an error that names the first token that is not finite.
func (p *pass) checkInput() error {
	if t, j := infinite(p.x); t >= 0 {
		return fmt.Errorf("%w: token %d, column %d of x is %v", alltoall.ErrNotFinite, t, j, rowOf(p.x, t)[j])
	}
	return nil
}

// checkGradient returns an error that names the first row of dy that is not finite, and that row's number, or −1.
func (l *Layer) checkGradient(dy blas32.General) (row int, err error) {
	t, j := infinite(dy)
	if t < 0 {
		return -1, nil
	}
	return t, &transport.Error{Rank: l.world.joined(l.world.Rank()), Op: "backward",
		Err: fmt.Errorf("%w: %w: row %d, column %d of dy is %v", alltoall.ErrRefused, alltoall.ErrNotFinite, t, j, rowOf(dy, t)[j])}
}

// tellGradient tells all ranks, while rows travel, which row of this rank's dy is not finite, −1 for none, and returns what
// waits for what they tell: an error that names the first rank that has such a row, on every rank.
//
// Direct: 8 bytes to each other rank, once a backward pass.
func (l *Layer) tellGradient(ctx context.Context, row int) (heard func() error) {
	size := l.world.Size()
	mine := binary.LittleEndian.AppendUint64(nil, uint64(row+1))
	if size == 1 {
		return func() error { return l.blameGradient(mine) }
	}
	all, done := make([]byte, size*len(mine)), make(chan error, 1)
	go func() { done <- l.checks.AllGather(ctx, all, mine) }()
	return func() error {
		if err := <-done; err != nil {
			return errtext.Errorf("switchyard: Backward: what the ranks say of dy: %w", err)
		}
		return l.blameGradient(all)
	}
}

// blameGradient returns an error if one of the ranks has told of a row.
func (l *Layer) blameGradient(told []byte) error {
	for r := range len(told) / 8 {
		if row := binary.LittleEndian.Uint64(told[8*r:]); row != 0 {
			return &transport.Error{Rank: l.world.joined(transport.Rank(r)), Op: "backward",
				Err: fmt.Errorf("%w: %w: row %d of its dy", alltoall.ErrRefused, alltoall.ErrNotFinite, row-1)}
		}
	}
	return nil
}

// dropGradients forgets what the pass under way has entered into the sums of gradients.
func (l *Layer) dropGradients() {
	for i := range l.shards {
		if set := l.shards[i].group.Params(); set != nil {
			set.Grad.Reset()
		}
	}
	if set := l.sharedParams(); set != nil {
		set.Grad.Reset()
	}
	if set := l.gainParams(); set != nil {
		set.Grad.Reset()
	}
}
