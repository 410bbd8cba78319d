package collective

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/transport"
)

// Codec writes rows of numbers in fewer bytes, and reads them. Those of package alltoall are some,
// and its Codec says what a method has to do. A row that holds a NaN or an infinity is read as one
// that does.
type Codec interface {
	// String names the codec and its settings, which ranks compare.
	String() string
	// Bytes is the length of a row of n numbers, which depends on nothing but n.
	Bytes(n int) int
	// Append writes row behind dst, and returns the longer slice.
	Append(dst []byte, row []float32) []byte
	// Decode sets all of row to what src holds, which is Bytes(len(row)) long and may be anything.
	Decode(row []float32, src []byte) error
}

const (
	// quantizedRow is how many consecutive numbers of a slice are one row of a codec, and
	// mostRowBytes the most bytes that it may take for one.
	quantizedRow = 1024
	mostRowBytes = 1 << 20
	// quantizedHead is the digest before the rows of a contribution.
	quantizedHead = 8
)

// AllReduceQuantized sums vectors over the ranks, in place, in the numbers of a codec: what ranks
// send to the owner of a slice ([Slice], of each vector) and what that sends back are rounded, and
// sums are taken in float32, in the order of ranks. All ranks end with the same bits. They depend
// on the number of ranks. Every rank gives the same codec and lengths; a peer that does not is an
// error.
//
// What is lost by rounding is not lost for good if there is feedback: feedback[i], as long as x[i],
// has what earlier calls have lost of x[i], zeros before the first. It is added to x[i], and
// becomes what this call loses: on the owner of a slice that of its sum, elsewhere that of the
// rank's contribution. So the mean of many sums goes to the exact one (Seide et al. 2014;
// Karimireddy et al. 2019, Error Feedback Fixes SignSGD). What is lost of a number that is not
// finite, or is read as one, is forgotten. Without feedback (nil) rounding errors stay.
//
// Direct, as qgZ of ZeRO++ (Wang et al. 2023) within a node: a quantized all-to-all of the slices,
// and a quantized all-gather. Two steps; each rank sends 2·(n-1)/n times the bytes of the rows
// (1024 numbers each, the last one of a slice perhaps fewer), and 8·(n-1). One rank rounds nothing.
func (c *Comm) AllReduceQuantized(ctx context.Context, codec Codec, x, feedback [][]float32) error {
	if err := c.checkQuantized(codec, x, feedback); err != nil {
		return err
	}
	return c.call("all-reduce", func(tag transport.Tag) error {
		for i, lost := range feedback {
			f32.Add(x[i], lost)
		}
		if c.Size() == 1 {
			for _, lost := range feedback {
				clear(lost)
			}
			return nil
		}
		q := &c.quantized
		q.begin(codec, x, feedback, c.t)
		defer q.forget()
		if err := c.scatterQuantized(ctx, tag, q); err != nil {
			return err
		}
		return c.gatherQuantized(ctx, tag+1, q)
	})
}

// checkQuantized returns an error unless the arguments of AllReduceQuantized fit together.
func (c *Comm) checkQuantized(codec Codec, x, feedback [][]float32) error {
	if check.Nil(codec) {
		return c.misuse("all-reduce", "no codec")
	}
	if feedback != nil && len(feedback) != len(x) {
		return c.misuse("all-reduce", "feedback of %d vectors for %d", len(feedback), len(x))
	}
	for i, lost := range feedback {
		if len(lost) != len(x[i]) {
			return c.misuse("all-reduce", "feedback[%d] has %d elements, its vector %d", i, len(lost), len(x[i]))
		}
	}
	for _, v := range x {
		for r := range c.Size() {
			lo, hi := Slice(len(v), r, c.Size())
			for _, n := range []int{min(hi-lo, quantizedRow), (hi - lo) % quantizedRow} {
				if b := codec.Bytes(n); n > 0 && (b < 1 || b > mostRowBytes) {
					return c.misuse("all-reduce", "%v has %d bytes for a row of %d numbers, want 1 to %d", codec, b, n, mostRowBytes)
				}
			}
		}
	}
	return nil
}

// scatterQuantized sends each other rank this one's part of its slices, and puts the sums of this
// rank's slices into q.mine, written, and into x, as they are read from there.
func (c *Comm) scatterQuantized(ctx context.Context, tag transport.Tag, q *quantized) error {
	head, size := q.digest(), quantizedHead+q.bytes(q.me)
	q.sent, q.came = q.sent[:0], grow(q.came, q.ranks*size)
	for r := range q.ranks {
		if r == q.me {
			continue
		}
		q.sent = binary.LittleEndian.AppendUint64(q.sent, head)
		if err := q.write(&q.sent, r); err != nil {
			return err
		}
	}
	rest := q.sent
	for r := range q.ranks {
		if r == q.me {
			continue
		}
		n := quantizedHead + q.bytes(r)
		c.x.send(r, tag, rest[:n])
		c.x.recv(r, tag, q.came[r*size:(r+1)*size])
		rest = rest[n:]
	}
	if err := c.step(ctx); err != nil {
		return err
	}
	for r := range q.ranks {
		if r != q.me && binary.LittleEndian.Uint64(q.came[r*size:]) != head {
			return q.fault(r, fmt.Errorf("%w: its vectors or its codec are not those of this rank, %v", transport.ErrMismatch, q.codec))
		}
	}
	if err := q.sum(size); err != nil {
		return err
	}
	q.mine = q.mine[:0]
	return q.write(&q.mine, q.me)
}

// gatherQuantized gives every rank the sums of all ranks' slices.
func (c *Comm) gatherQuantized(ctx context.Context, tag transport.Tag, q *quantized) error {
	total := 0
	for r := range q.ranks {
		total += q.bytes(r)
	}
	q.came = grow(q.came, total)
	rest := q.came
	for r := range q.ranks {
		n := q.bytes(r)
		if r != q.me {
			c.x.send(r, tag, q.mine)
			c.x.recv(r, tag, rest[:n])
		}
		rest = rest[n:]
	}
	if err := c.step(ctx); err != nil {
		return err
	}
	rest = q.came
	for r := range q.ranks {
		n := q.bytes(r)
		if r != q.me {
			if err := q.read(r, rest[:n]); err != nil {
				return err
			}
		}
		rest = rest[n:]
	}
	return nil
}

// quantized is the vectors of an AllReduceQuantized on a rank, and working memory that stays.
type quantized struct {
	codec       Codec
	x, feedback [][]float32
	me, ranks   int

	sent, came, mine []byte
	rows             [2][]float32
}

func (q *quantized) begin(codec Codec, x, feedback [][]float32, t transport.Transport) {
	q.codec, q.x, q.feedback, q.me, q.ranks = codec, x, feedback, int(t.Rank()), t.Size()
	for i := range q.rows {
		q.rows[i] = grow(q.rows[i], quantizedRow)
	}
}

// forget drops the references to the caller's vectors.
func (q *quantized) forget() { q.codec, q.x, q.feedback = nil, nil, nil }

// digest is the same on all ranks that give the same codec and lengths.
func (q *quantized) digest() uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%v", q.codec)
	for _, v := range q.x {
		fmt.Fprintf(h, " %d", len(v))
	}
	return h.Sum64()
}

// each calls do with the rows of the slices of rank r, in order: with the number of the vector and
// the range within it.
func (q *quantized) each(r int, do func(vector, lo, hi int) error) error {
	for i, v := range q.x {
		for lo, end := Slice(len(v), r, q.ranks); lo < end; lo += quantizedRow {
			if err := do(i, lo, min(lo+quantizedRow, end)); err != nil {
				return err
			}
		}
	}
	return nil
}

// bytes is the length of the rows of the slices of rank r.
func (q *quantized) bytes(r int) (n int) {
	for _, v := range q.x {
		lo, hi := Slice(len(v), r, q.ranks)
		if whole := (hi - lo) / quantizedRow; whole > 0 {
			n += whole * q.codec.Bytes(quantizedRow)
		}
		if last := (hi - lo) % quantizedRow; last > 0 {
			n += q.codec.Bytes(last)
		}
	}
	return n
}

// write writes the slices of rank r behind dst, and puts what is lost into the feedback. Those of
// this rank, which are sums, become what the others will read.
func (q *quantized) write(dst *[]byte, r int) error {
	return q.each(r, func(i, lo, hi int) error {
		row, begin := q.x[i][lo:hi], len(*dst)
		*dst = q.codec.Append(*dst, row)
		if n, want := len(*dst)-begin, q.codec.Bytes(len(row)); n != want {
			return q.fault(q.me, fmt.Errorf("%v has written %d bytes for a row of %d numbers, want %d", q.codec, n, len(row), want))
		}
		if r != q.me && q.feedback == nil {
			return nil
		}
		read := q.rows[0][:len(row)]
		if err := q.codec.Decode(read, (*dst)[begin:]); err != nil {
			return q.unread(q.me, err)
		}
		if q.feedback != nil {
			lose(q.feedback[i][lo:hi], row, read)
		}
		if r == q.me {
			copy(row, read)
		}
		return nil
	})
}

// lose sets lost to what is in row and not in read; to 0 where one of them is not finite.
func lose(lost, row, read []float32) {
	for k, v := range row {
		d := v - read[k]
		if d-d != 0 {
			d = 0
		}
		lost[k] = d
	}
}

// sum adds what the other ranks have sent, size bytes each, to this rank's slices, in the order of
// ranks.
func (q *quantized) sum(size int) error {
	at := quantizedHead
	return q.each(q.me, func(i, lo, hi int) error {
		own := q.x[i][lo:hi]
		sum, theirs, n := q.rows[0][:len(own)], q.rows[1][:len(own)], q.codec.Bytes(len(own))
		for r := range q.ranks {
			row := own
			if r != q.me {
				row = theirs
				if err := q.codec.Decode(row, q.came[r*size+at:][:n]); err != nil {
					return q.unread(r, err)
				}
			}
			if r == 0 {
				copy(sum, row)
			} else {
				f32.Add(sum, row)
			}
		}
		copy(own, sum)
		at += n
		return nil
	})
}

// read sets the slices of rank r to what it has sent.
func (q *quantized) read(r int, src []byte) error {
	return q.each(r, func(i, lo, hi int) error {
		n := q.codec.Bytes(hi - lo)
		if err := q.codec.Decode(q.x[i][lo:hi], src[:n]); err != nil {
			return q.unread(r, err)
		}
		src = src[n:]
		return nil
	})
}

// unread is the error of what rank r has sent.
func (q *quantized) unread(r int, err error) error {
	return q.fault(r, fmt.Errorf("%v cannot read it: %w", q.codec, err))
}

// fault is an error of what rank r has given.
func (q *quantized) fault(r int, err error) error {
	op := "recv"
	if r == q.me {
		op = "encode"
	}
	return &transport.Error{Rank: transport.Rank(r), Op: op, Err: err}
}
