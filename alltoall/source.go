package alltoall

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/view"
)

// source is the rows that leave in a dispatch: those of m, or where token is not nil those of m that it names, in its
// order.
type source struct {
	m     blas32.General
	token []int32
}

// check panics where the source has not as many rows as were announced, or they are not as wide as the exchange's.
func (s source) check(x *Exchange, want int) {
	if s.token == nil {
		x.checkRows("Dispatch", s.m, want)
		return
	}
	if len(s.token) != want || s.m.Rows > 0 && s.m.Cols != x.dim {
		panic(fmt.Sprintf("alltoall: DispatchTokens: %d rows of %d columns, want %d of %d", len(s.token), s.m.Cols, want, x.dim))
	}
}

// pack gathers the rows that the source names, where the transport would do badly with a buffer for each. lent is the memory
// that this took, for the pool to have back.
func (s source) pack(x *Exchange) (packed source, lent []float32) {
	if s.token == nil || x.inPlace {
		return s, nil
	}
	m := x.pool.matrix(len(s.token), x.dim)
	for i, t := range s.token {
		copy(m.Data[i*x.dim:(i+1)*x.dim], s.m.Data[int(t)*s.m.Stride:])
	}
	return source{m: m}, m.Data
}

// list appends rows [first, first+n) to the round's buffers.
func (s source) list(x *Exchange, first, n int) {
	r := &x.round
	if s.token == nil {
		if n > 0 {
			r.bufs = append(r.bufs, x.bytesOf(s.m, first, n))
		}
		return
	}
	for _, t := range s.token[first : first+n] {
		begin := int(t) * s.m.Stride
		r.bufs = append(r.bufs, view.Bytes(s.m.Data[begin:begin+x.dim]))
	}
}
