package alltoall

import (
	"context"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/transport"
)

// dispatchRows is the direct exchange: every rank sends every other one message, all at once.
//
// Steps: 1. Bytes on the wire: each row once, 4·dim, unless its expert is here; and 4 for each of the
// receiver's experts and the sender's leaves. It wins where messages are large or ranks few; it is what
// Gloo's and Open MPI's linear all-to-all do.
func (x *Exchange) dispatchRows(ctx context.Context, c Counts, from []announcement, rows blas32.General) (*Handle, blas32.General, error) {
	x.nextTag()
	me := x.rank()
	sent := x.sentRows(c)
	segments, received := layout(from)
	in := x.pool.matrix(received, x.dim)
	splits := make([][]byte, x.size())
	var sends, recvs []transport.Message
	out := x.runs(rows, sent)
	splits[me] = x.encodeSplits(c, me)
	x.scatterOwn(in, segments, out[me])
	for _, r := range x.others() {
		if sent[r] > 0 {
			sends = append(sends, x.message(r, x.encodeSplits(c, r), out[r]))
		}
		if a := from[r]; sum(a.rows) > 0 {
			splits[r] = make([]byte, 4*len(a.rows)*a.leaves)
			recvs = append(recvs, x.message(r, x.segmentsOf(in, segments, r, splits[r])...))
		}
	}
	if err := x.run(ctx, "dispatch", sends, recvs); err != nil {
		return nil, blas32.General{}, err
	}
	if err := x.checkLengths("dispatch", recvs); err != nil {
		return nil, blas32.General{}, err
	}
	counts, err := x.decodeAllSplits(from, splits)
	if err != nil {
		return nil, blas32.General{}, err
	}
	h := &Handle{x: x, plan: NewPlan(me, x.place, sent, counts)}
	return h, h.lend(in), nil
}

// runs cuts rows into consecutive runs of the given lengths.
func (x *Exchange) runs(rows blas32.General, lengths []int) [][]byte {
	list, row := make([][]byte, len(lengths)), 0
	for r, n := range lengths {
		list[r] = x.bytesOf(rows, row, n)
		row += n
	}
	return list
}

func (x *Exchange) sentRows(c Counts) []int {
	sent := make([]int, x.size())
	for r := range sent {
		sent[r] = sum(c.ofExperts(x.place.Of(r)))
	}
	return sent
}

// layout gives each sender's rows for each expert here their place: by expert, then by sender.
func layout(from []announcement) ([]Segment, int) {
	experts := len(from[0].rows)
	segments, row := make([]Segment, 0, experts*len(from)), 0
	for e := range experts {
		for _, a := range from {
			segments = append(segments, Segment{First: row, Rows: a.rows[e]})
			row += a.rows[e]
		}
	}
	return segments, row
}

// segmentsOf lists the pieces of m that hold sender s's rows, after the buffers of head.
func (x *Exchange) segmentsOf(m blas32.General, segments []Segment, s int, head ...[]byte) [][]byte {
	bufs := head
	for i := s; i < len(segments); i += x.size() {
		bufs = append(bufs, x.bytesOf(m, segments[i].First, segments[i].Rows))
	}
	return bufs
}

// scatterOwn copies the rows that stay here to their segments.
func (x *Exchange) scatterOwn(in blas32.General, segments []Segment, rows []byte) {
	for _, piece := range x.segmentsOf(in, segments, x.rank()) {
		rows = rows[copy(piece, rows):]
	}
}

func (x *Exchange) checkLengths(op string, recvs []transport.Message) error {
	for _, m := range recvs {
		want := 0
		for _, b := range m.Bufs {
			want += len(b)
		}
		if m.N != want {
			return x.fault(int(m.Peer), op, transport.ErrProtocol, "%d bytes of rows, announced %d", m.N, want)
		}
	}
	return nil
}

func (x *Exchange) decodeAllSplits(from []announcement, splits [][]byte) ([]Counts, error) {
	counts := make([]Counts, len(from))
	for s, a := range from {
		c, err := x.decodeSplits(s, a, splits[s])
		if err != nil {
			return nil, err
		}
		counts[s] = c
	}
	return counts, nil
}
