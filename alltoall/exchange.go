package alltoall

import (
	"errors"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/freelist"
	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/transport"
)

// Exchange carries rows of one layer between the ranks of a transport. All ranks call its methods,
// and those of its handles, in the same order; it is not safe for concurrent use. What runs at the
// same time is a [Exchange.Pass] of its own.
type Exchange struct {
	settings
	chooser chooser
	now     Algorithm // of this round, never Auto

	whole *Exchange               // what Pass was called on, nil if this is it
	pass  uint64                  // number of the pass, if it is one
	ended freelist.List[Exchange] // of passes, for their memory
	seq   uint64                  // number of the round

	handles int // that have not been released

	steps  [NumAlgorithms][]Step // of this rank, made when first needed
	seenBy [2][]int32            // scratch: the node and the rank that a token last went to
	relay  relay
	pool   pool

	// Memory of a round, used again by the next.
	round     round
	announced []announcement
	counts    []Counts
	spare     []*Handle
}

// settings change by SetWire alone.
type settings struct {
	t         transport.Transport
	placement Placement
	dim       int
	maxRows   int
	maxRelay  int
	setRelay  int  // Config.MaxRelay
	counted   int  // MaxCounts
	leaf      int  // Config.LeafRows
	groups    int  // Config.Groups
	allocates bool // Config.Allocates
	inPlace   bool // the transport copies many short buffers as well as one
	wire      Wire
	wires     wires
}

// New makes an exchange over t, which must carry nothing else: see [transport.Sub].
func New(t transport.Transport, c Config) (*Exchange, error) {
	if err := errors.Join(c.faults(t.Size())...); err != nil {
		return nil, err
	}
	can := transport.CapabilitiesOf(t)
	x := &Exchange{chooser: newChooser(c, t.Size()), settings: settings{
		t: t, placement: c.Placement, dim: c.Dim, maxRows: c.MaxRows, counted: MaxCounts, leaf: c.LeafRows,
		groups: c.Groups, allocates: c.Allocates, setRelay: c.MaxRelay, inPlace: can.Name != "" && !can.Network,
	}}
	if x.maxRows == 0 {
		x.maxRows = DefaultMaxRows
	}
	x.setWire(c.Wire)
	return x, nil
}

// rank and size of the transport, as the plan's integers.
func (x *Exchange) rank() int { return int(x.t.Rank()) }
func (x *Exchange) size() int { return x.t.Size() }

// next is the i-th rank from this one on. Each rank begins with the next one, so that they do not
// all send to the same rank first.
func (x *Exchange) next(i int) int { return (x.rank() + i) % x.size() }

// fault blames rank for something that it sent.
func (x *Exchange) fault(rank int, op string, kind error, format string, args ...any) error {
	return &transport.Error{Rank: transport.Joined(x.t, transport.Rank(rank)), Op: x.named(op), Seq: x.seq, Err: fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...))}
}

// bytesOf is rows of a packed matrix.
func bytesOf(m blas32.General, first, rows int) []byte {
	return view.Bytes(m.Data[first*m.Cols : (first+rows)*m.Cols])
}
