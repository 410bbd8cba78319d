package alltoall

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/view"
)

// source is the rows that leave in the first trip: those of m, or if token is not nil those of m
// that it lists, in its order.
type source struct {
	m     blas32.General
	token []int32
	late  bool // they may change until they are dispatched
}

// wantsPacking reports whether the rows that the source lists are copied to a packed matrix first,
// since the transport is slow with a buffer for each. Rails and Dedup do it themselves.
func (s source) wantsPacking(x *Exchange, a Algorithm) bool {
	return s.token != nil && !x.inPlace && a != Rails && a != Dedup
}

// gather copies the rows that the source lists to a packed matrix.
func (s source) gather(to blas32.General) {
	for i, t := range s.token {
		copy(to.Data[i*to.Cols:(i+1)*to.Cols], s.m.Data[int(t)*s.m.Stride:])
	}
}

// listSource appends rows [first, first+n) of what leaves, which go to a rank, to the round's
// buffers, in the format of a dispatch.
func (h *Handle) listSource(to, first, n int) {
	x, s := h.x, &h.src
	l, encoded := &x.wires.to(to).dispatch, &h.encoded[x.wires.link(to)]
	r, width, narrow := &x.round, l.width, l.codec != nil
	switch {
	case n == 0:
	case s.late:
		x.offer(l, s.m, first, n)
	case s.token == nil && narrow:
		r.bufs = append(r.bufs, encoded.bytes[first*width:(first+n)*width])
	case s.token == nil:
		r.bufs = append(r.bufs, bytesOf(s.m, first, n))
	default:
		for _, t := range s.token[first : first+n] {
			if narrow {
				r.bufs = append(r.bufs, encoded.row(int(t), width))
				continue
			}
			begin := int(t) * s.m.Stride
			r.bufs = append(r.bufs, view.Bytes(s.m.Data[begin:begin+x.dim]))
		}
	}
}

// crossings counts the rows that leave.
func (s source) crossings(x *Exchange, c Counts) (k crossings) {
	o := &x.chooser.nodes
	mine := o.node[x.rank()]
	if s.token != nil {
		x.seenBy = [2][]int32{cleared(x.seenBy[0], s.m.Rows), cleared(x.seenBy[1], s.m.Rows)}
	}
	for n, members := range o.members {
		for _, r := range members {
			begin, end := x.placement.Of(r)
			rows, first := mat.Sum(c.ofExperts(begin, end)), mat.Sum(c.Rows[:begin*c.Leaves])
			switch {
			case r == x.rank():
				continue
			case n != mine:
				k.rows += rows
			}
			if s.token == nil {
				k.byRank += rows
				if n != mine {
					k.byNode += rows
				}
				continue
			}
			for _, t := range s.token[first : first+rows] {
				if n != mine && isNews(x.seenBy[0], t, n) {
					k.byNode++
				}
				if isNews(x.seenBy[1], t, r) {
					k.byRank++
				}
			}
		}
	}
	return k
}

// isNews notes that token t is for the i-th node or rank, and reports whether that is new. All
// calls for one i follow each other.
func isNews(seen []int32, t int32, i int) bool {
	if seen[t] == int32(i+1) {
		return false
	}
	seen[t] = int32(i + 1)
	return true
}

func cleared[T any](list []T, n int) []T {
	if cap(list) < n {
		return make([]T, n)
	}
	clear(list[:n])
	return list[:n]
}

// crossings are numbers of rows: those for other nodes, those for other nodes if no token crossed
// to a node twice, and those for other ranks if no token went to a rank twice.
type crossings struct{ rows, byNode, byRank int }
