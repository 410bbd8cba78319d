package alltoall

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/transport"
)

// DefaultMaxRows is the most rows that a rank takes in from one dispatch by default: with rows of 4
// KiB it is 64 GiB, more than a rank is likely to hold and less than a corrupt count would ask for.
const DefaultMaxRows = 1 << 24

// mostRows is the most that rows and tokens are counted to, by the width of a count in a message.
//
// MaxCounts is the most counts that a rank takes in from one dispatch, or sends: the leaves of all
// ranks times the experts hosted here, or the leaves of this rank times all experts. Each takes 8
// bytes of memory, and there are as many however few the rows are.
const (
	mostRows  = math.MaxInt32
	MaxCounts = 1 << 27
)

// Config describes an [Exchange]. All ranks give the same.
type Config struct {
	// Placement says where the experts are. It must have as many ranks as the transport.
	Placement Placement
	// Dim is the number of columns of a row.
	Dim int
	// MaxRows bounds the rows taken in by one dispatch, at most 2³¹−1; 0 means [DefaultMaxRows].
	MaxRows int
	// LeafRows is the most rows that an expert gets from one leaf if rows are not tokens but
	// mixtures of them; 0 means that they are tokens, so that there are no more rows than those.
	LeafRows int
	// Groups is the number of groups into which the experts of each rank are divided, as evenly as
	// possible. Chunks that are cut by experts do not divide a group. 0 makes each expert one.
	Groups int
	// Algorithm says through which ranks messages go.
	Algorithm Algorithm
	// Topology says which ranks share a node. Its zero value puts all on one.
	Topology Topology
	// Costs are what Auto predicts by, such as links.Links. With nil it takes Direct.
	Costs Costs
	// Wire is the formats of rows in messages; its zero value is float32.
	Wire Wire
	// MaxRelay bounds the bytes that a rank holds for others in a round; 0 means those of MaxRows
	// rows, as many as it takes in for itself, and at least [DefaultMaxRelay].
	MaxRelay int
}

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

	algorithm Algorithm // the one configured
	now       Algorithm // the one of this round, never Auto
	last      Algorithm // the one of the last dispatch
	topology  Topology
	costs     Costs
	maxRelay  int
	nodes     on
	steps     [NumAlgorithms][]Step // this rank's, made when first wanted
	chosen    map[load]Algorithm    // by Auto
	seenBy    [2][]int32            // scratch: the node and the rank that a token last went to
	relay     relay
	pool      pool

	// Memory of a round, used again by the next.
	round     round
	announced []announcement
	counts    []Counts
	spare     []*Handle
}

// New makes an exchange over t, which must carry nothing else: see [transport.Sub].
func New(t transport.Transport, c Config) (*Exchange, error) {
	var faults []error
	if err := c.Placement.Validate(); err != nil {
		faults = append(faults, err)
	} else if n := c.Placement.Ranks(); n != t.Size() {
		faults = append(faults, fmt.Errorf("alltoall: placement over %d ranks on a transport of %d", n, t.Size()))
	}
	if err := check.Size(c.Dim, 1); err != nil {
		faults = append(faults, errtext.Errorf("alltoall: Dim is %w", err))
	}
	if c.MaxRows < 0 || c.MaxRows > mostRows {
		faults = append(faults, fmt.Errorf("alltoall: MaxRows is %d, want 0 to %d", c.MaxRows, mostRows))
	}
	if err := check.Size(c.LeafRows, 0); err != nil {
		faults = append(faults, errtext.Errorf("alltoall: LeafRows is %w", err))
	}
	if err := check.Size(c.Groups, 0); err != nil {
		faults = append(faults, errtext.Errorf("alltoall: Groups is %w", err))
	}
	if c.MaxRelay < 0 {
		faults = append(faults, fmt.Errorf("alltoall: MaxRelay is %d, must not be negative", c.MaxRelay))
	}
	if err := errors.Join(c.Algorithm.Validate(), c.Topology.Validate(t.Size()), c.Wire.Validate()); err != nil {
		faults = append(faults, err)
	}
	if c.Costs != nil {
		if err := c.Costs.Validate(); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	can := transport.CapabilitiesOf(t)
	x := &Exchange{
		t: t, placement: c.Placement, dim: c.Dim, maxRows: c.MaxRows, counted: MaxCounts, leaf: c.LeafRows, groups: c.Groups, inPlace: can.Name != "" && !can.Network,
	}
	x.wire = c.Wire
	x.algorithm, x.topology, x.costs, x.maxRelay, x.chosen = c.Algorithm, c.Topology, c.Costs, c.MaxRelay, map[load]Algorithm{}
	x.nodes, x.last = x.topology.on(t.Size()), c.Algorithm
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
