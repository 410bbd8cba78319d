package alltoall

import (
	"errors"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/transport"
)

// ErrNotFinite says that a rank was to send a NaN or an infinity under [Wire.Finite].
var ErrNotFinite = errors.New("not a finite number")

// checkFinite looks for numbers that are not finite in packed rows that are about to leave, if
// [Wire.Finite].
func (x *Exchange) checkFinite(op string, ms ...blas32.General) error {
	if err := x.findInfinite(op, ms...); err != nil {
		return err
	}
	return nil
}

func (x *Exchange) findInfinite(op string, ms ...blas32.General) *transport.Error {
	if !x.wire.Finite {
		return nil
	}
	for _, m := range ms {
		if n := m.Rows * m.Cols; !f32.Finite(m.Data[:n]) {
			for i, v := range m.Data[:n] {
				if v-v != 0 {
					return x.notFinite(op, i/m.Cols, i%m.Cols, v)
				}
			}
		}
	}
	return nil
}

// findInfinite looks through the rows that a source lists.
func (s source) findInfinite(x *Exchange) *transport.Error {
	if s.token == nil || !x.wire.Finite {
		return x.findInfinite("dispatch", s.m)
	}
	for _, t := range s.token {
		row := s.m.Data[int(t)*s.m.Stride:][:x.dim]
		if f32.Finite(row) {
			continue
		}
		for j, v := range row {
			if v-v != 0 {
				return x.notFinite("dispatch", int(t), j, v)
			}
		}
	}
	return nil
}

func (x *Exchange) notFinite(op string, row, column int, v float32) *transport.Error {
	return &transport.Error{Rank: transport.Joined(x.t, x.t.Rank()), Op: x.named(op), Seq: x.seq + 1,
		Err: fmt.Errorf("%w: row %d, column %d is %v", ErrNotFinite, row, column, v)}
}
