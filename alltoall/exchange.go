package alltoall

import (
	"context"
	"errors"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/transport"
)

// DefaultMaxRows is the most rows that a rank takes in from one dispatch unless told otherwise: with rows of 4 KiB
// it is 64 GiB, more than a rank is likely to hold and less than a broken count would ask for.
const DefaultMaxRows = 1 << 24

// Config describes an [Exchange]. All ranks give the same.
type Config struct {
	// Placement says where the experts are. It must have as many ranks as the transport.
	Placement Placement
	// Dim is the number of columns of a row.
	Dim int
	// MaxRows bounds the rows taken in by one dispatch; 0 means [DefaultMaxRows].
	MaxRows int
	// LeafRows is the most rows that an expert gets from one leaf where rows are not tokens but mixtures of them; 0 means
	// that they are tokens, so that there are no more rows than those.
	LeafRows int
}

// Exchange carries rows of one layer between the ranks of a transport. All ranks call its methods, and those of
// its handles, in the same order; it is not safe for concurrent use.
type Exchange struct {
	t       transport.Transport
	place   Placement
	dim     int
	maxRows int
	leaf    int // Config.LeafRows
	seq     uint64
	pool    pool
}

// New makes an exchange over t, which must carry nothing else: use [transport.Sub] where it does.
func New(t transport.Transport, c Config) (*Exchange, error) {
	var faults []error
	if err := c.Placement.Validate(); err != nil {
		faults = append(faults, err)
	} else if n := c.Placement.Ranks(); n != t.Size() {
		faults = append(faults, fmt.Errorf("alltoall: placement over %d ranks on a transport of %d", n, t.Size()))
	}
	if c.Dim < 1 {
		faults = append(faults, fmt.Errorf("alltoall: Dim is %d, must be at least 1", c.Dim))
	}
	if c.MaxRows < 0 {
		faults = append(faults, fmt.Errorf("alltoall: MaxRows is %d, must not be negative", c.MaxRows))
	}
	if c.LeafRows < 0 {
		faults = append(faults, fmt.Errorf("alltoall: LeafRows is %d, must not be negative", c.LeafRows))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	x := &Exchange{t: t, place: c.Placement, dim: c.Dim, maxRows: c.MaxRows, leaf: c.LeafRows}
	if x.maxRows == 0 {
		x.maxRows = DefaultMaxRows
	}
	return x, nil
}

// Dispatch sends rows, sorted by expert, to the experts' ranks, and returns those that arrived for the experts
// hosted here, in the order that [Plan] states, with the handle that reverses or repeats the exchange. rows is
// the caller's again when Dispatch returns; the result belongs to the handle until its Release.
//
// It takes two messages to each peer: the counts, then the rows with their division into leaves.
func (x *Exchange) Dispatch(ctx context.Context, c Counts, rows blas32.General) (*Handle, blas32.General, error) {
	x.checkRows("Dispatch", rows, sum(c.Rows))
	if len(c.Rows) != x.place.Experts()*c.Leaves {
		panic(fmt.Sprintf("alltoall: Dispatch: %d counts for %d experts × %d leaves", len(c.Rows), x.place.Experts(), c.Leaves))
	}
	announced, err := x.exchangeCounts(ctx, c)
	if err != nil {
		return nil, blas32.General{}, err
	}
	return x.dispatchRows(ctx, c, announced, rows)
}

func (x *Exchange) checkRows(op string, rows blas32.General, want int) {
	if rows.Rows != want || want > 0 && (rows.Cols != x.dim || rows.Stride != x.dim) {
		panic(fmt.Sprintf("alltoall: %s: %d rows × %d (stride %d), want %d × %d, packed", op, rows.Rows, rows.Cols, rows.Stride, want, x.dim))
	}
}

// rank and size of the transport, as the plan's integers.
func (x *Exchange) rank() int { return int(x.t.Rank()) }
func (x *Exchange) size() int { return x.t.Size() }

// others lists the other ranks from the next one on, so that not everybody talks to the same one first.
func (x *Exchange) others() []int {
	list := make([]int, 0, x.size()-1)
	for i := 1; i < x.size(); i++ {
		list = append(list, (x.rank()+i)%x.size())
	}
	return list
}

// nextTag begins the next message round.
func (x *Exchange) nextTag() transport.Tag {
	x.seq++
	return transport.Tag(x.seq) & (1<<transport.TagBits - 1)
}

// run carries out one round of messages and says which round failed.
func (x *Exchange) run(ctx context.Context, op string, sends, recvs []transport.Message) error {
	if err := transport.Exchange(ctx, x.t, sends, recvs); err != nil {
		return fmt.Errorf("alltoall: %s #%d: %w", op, x.seq, err)
	}
	return nil
}

// fault blames rank for something that it sent.
func (x *Exchange) fault(rank int, op string, kind error, format string, args ...any) error {
	return &transport.Error{Rank: transport.Rank(rank), Op: op, Seq: x.seq, Err: fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...))}
}

func (x *Exchange) bytesOf(m blas32.General, first, rows int) []byte {
	return view.Bytes(m.Data[first*x.dim : (first+rows)*x.dim])
}
