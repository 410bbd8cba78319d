package alltoall

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/quant"
	"github.com/switchyard-moe/switchyard/transport"
)

// leg is how rows are written on one of the four ways of a step.
type leg struct {
	codec   Codec // nil if they travel as they are, in float32
	format  quant.Format
	builtin bool // codec is format, and is called as that, which is faster for short rows
	width   int  // bytes of a row
}

// legs are the four of rows between two ranks.
type legs struct{ dispatch, combine, dispatchBack, combineBack leg }

func newLegs(w Wire, dim int) legs {
	var list [4]leg
	for i, c := range w.Legs() {
		f, ok := c.(Format)
		list[i] = leg{codec: c, format: quant.Format(f), builtin: ok, width: c.Bytes(dim)}
		if ok && f == Float32 {
			list[i].codec = nil
		}
	}
	return legs{list[0], list[1], list[2], list[3]}
}

// widest is the most bytes that a row has.
func (l *legs) widest() int {
	return max(l.dispatch.width, l.combine.width, l.dispatchBack.width, l.combineBack.width)
}

// narrows reports whether a row of the first trip is written in another format than float32.
func (l *legs) narrows() bool { return l.dispatch.codec != nil }

// encode writes a row to dst, which is as long as the codec says.
func (l *leg) encode(dst []byte, row []float32) error {
	if l.builtin {
		l.format.Encode(dst, row)
		return nil
	}
	got := l.codec.Append(dst[:0:len(dst)], row)
	if len(got) != len(dst) {
		return fmt.Errorf("%w: %v wrote %d bytes for a row of %d numbers, its Bytes says %d", ErrCodec, l.codec, len(got), len(row), len(dst))
	}
	if &got[0] != &dst[0] {
		copy(dst, got)
	}
	return nil
}

// decode reads a row.
func (l *leg) decode(row []float32, src []byte) error {
	if l.builtin {
		l.format.Decode(row, src)
		return nil
	}
	return l.codec.Decode(row, src)
}

// arrivingRows are rows that come in another format than float32, and where they belong.
type arrivingRows struct {
	leg         *leg
	from        int // rank
	buf         []byte
	m           blas32.General
	first, rows int
}

// offer appends rows [first, first+n) of m to the round's buffers, as they are written on a leg.
func (x *Exchange) offer(l *leg, m blas32.General, first, n int) {
	if n == 0 {
		return
	}
	if l.codec == nil {
		x.round.bufs = append(x.round.bufs, bytesOf(m, first, n))
		return
	}
	buf := x.round.takeBytes(n * l.width)
	for i := range n {
		err := l.encode(buf[i*l.width:(i+1)*l.width], m.Data[(first+i)*m.Cols:(first+i+1)*m.Cols])
		if err != nil && x.round.fault == nil {
			x.round.fault = err
		}
	}
	x.round.bufs = append(x.round.bufs, buf)
}

// expect appends room for rows [first, first+n) of m, which come from a rank on a leg, to the
// round's buffers. The rows are there after the round.
func (x *Exchange) expect(l *leg, from int, m blas32.General, first, n int) {
	if n == 0 {
		return
	}
	if l.codec == nil {
		x.round.bufs = append(x.round.bufs, bytesOf(m, first, n))
		return
	}
	buf := x.round.takeBytes(n * l.width)
	x.round.bufs = append(x.round.bufs, buf)
	x.round.narrow = append(x.round.narrow, arrivingRows{l, from, buf, m, first, n})
}

// widen puts the rows that came in another format where they belong. A row that cannot be read is
// the fault of the rank that sent it.
func (x *Exchange) widen(op string) error {
	for _, a := range x.round.narrow {
		cols, width := a.m.Cols, a.leg.width
		for i := range a.rows {
			row := a.m.Data[(a.first+i)*cols : (a.first+i+1)*cols]
			if err := a.leg.decode(row, a.buf[i*width:(i+1)*width:(i+1)*width]); err != nil {
				return x.codecFault(a.from, op, fmt.Errorf("%w: %w: %v cannot read row %d of %d: %w",
					transport.ErrProtocol, ErrCodec, a.leg.codec, i, a.rows, err))
			}
		}
	}
	return nil
}

// codecFault blames a rank for what it has written.
func (x *Exchange) codecFault(rank int, op string, err error) error {
	return &transport.Error{Rank: transport.Joined(x.t, transport.Rank(rank)), Op: x.named(op), Seq: x.seq, Err: err}
}
