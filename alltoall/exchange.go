package alltoall

import (
	"errors"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/transport"
)

// Exchange carries rows of one layer between the ranks of a transport. All ranks call its methods,
// and those of its handles, in the same order; it is not safe for concurrent use.
type Exchange struct {
	t         transport.Transport
	placement Placement
	dim       int
	maxRows   int
	counted   int  // MaxCounts
	leaf      int  // Config.LeafRows
	groups    int  // Config.Groups
	inPlace   bool // the transport copies many short buffers as well as one
	wire      Wire
	seq       uint64

	chooser  chooser
	now      Algorithm             // of this round, never Auto
	steps    [NumAlgorithms][]Step // of this rank, made when first needed
	maxRelay int
	seenBy   [2][]int32 // scratch: the node and the rank that a token last went to
	relay    relay
	pool     pool

	// Memory of a round, used again by the next.
	round     round
	announced []announcement
	counts    []Counts
	spare     []*Handle
}

// New makes an exchange over t, which must carry nothing else: see [transport.Sub].
func New(t transport.Transport, c Config) (*Exchange, error) {
	if err := errors.Join(c.faults(t.Size())...); err != nil {
		return nil, err
	}
	can := transport.CapabilitiesOf(t)
	x := &Exchange{
		t: t, placement: c.Placement, dim: c.Dim, maxRows: c.MaxRows, counted: MaxCounts, leaf: c.LeafRows,
		groups: c.Groups, maxRelay: c.MaxRelay, wire: c.Wire, chooser: newChooser(c, t.Size()),
		inPlace: can.Name != "" && !can.Network,
	}
	if x.maxRows == 0 {
		x.maxRows = DefaultMaxRows
	}
	if x.maxRelay == 0 {
		x.maxRelay = max(DefaultMaxRelay, times(x.maxRows, times(4, x.dim)))
	}
	return x, nil
}

// rank and size of the transport, as the plan's integers.
func (x *Exchange) rank() int { return int(x.t.Rank()) }
func (x *Exchange) size() int { return x.t.Size() }

// next is the i-th rank from this one on. Each rank begins with the next one, so that they do not
// all send to the same rank first.
func (x *Exchange) next(i int) int { return (x.rank() + i) % x.size() }

// tag is that of the current round.
func (x *Exchange) tag() transport.Tag { return transport.Tag(x.seq) & (1<<transport.TagBits - 1) }

// fault blames rank for something that it sent.
func (x *Exchange) fault(rank int, op string, kind error, format string, args ...any) error {
	return &transport.Error{Rank: transport.Joined(x.t, transport.Rank(rank)), Op: op, Seq: x.seq, Err: fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...))}
}

// bytesOf is rows of a packed matrix.
func bytesOf(m blas32.General, first, rows int) []byte {
	return view.Bytes(m.Data[first*m.Cols : (first+rows)*m.Cols])
}
