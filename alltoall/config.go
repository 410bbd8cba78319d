package alltoall

import (
	"errors"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// DefaultMaxRows is the most rows that a rank takes in from one dispatch by default: with rows of 4
// KiB it is 64 GiB, more than a rank is likely to hold and less than a corrupt count would ask for.
const DefaultMaxRows = 1 << 24

// mostRows is the most that rows and tokens are counted to, by the width of a count in a message.
//
// MaxCounts is the most counts that a rank takes in from one dispatch, or sends: the leaves of all
// ranks times the experts hosted here, or times all experts if [Config.Allocates], or the leaves of
// this rank times all experts. Each takes 8 bytes of memory, and there are as many however few the
// rows are.
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
	// Wire is the formats of rows in messages; its zero value is float32. [Exchange.SetWire] changes
	// it.
	Wire Wire
	// Allocates says that exchanges may have an Allocation, a [Request]'s Allocate. The message of
	// counts from each rank to each other then has all counts of its rank, four bytes for each expert
	// and leaf, so that every rank knows the Loads. And in the first chunk each rank sends a message
	// to each other, of eight bytes if there are no rows. Auto goes by the rows for experts' homes.
	Allocates bool
	// MaxRelay bounds the bytes that a rank holds for others in a round; 0 means those of MaxRows
	// rows, as many as it takes in for itself, and at least [DefaultMaxRelay].
	MaxRelay int
}

// faults lists what is wrong with c on a transport of the given number of ranks.
func (c *Config) faults(ranks int) (faults []error) {
	if err := c.Placement.Validate(); err != nil {
		faults = append(faults, err)
	} else if n := c.Placement.Ranks(); n != ranks {
		faults = append(faults, fmt.Errorf("alltoall: placement over %d ranks on a transport of %d", n, ranks))
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
	if err := errors.Join(c.Algorithm.Validate(), c.Topology.Validate(ranks), c.Wire.Validate(c.Dim)); err != nil {
		faults = append(faults, err)
	}
	if err := c.validateCosts(); err != nil {
		faults = append(faults, err)
	}
	return faults
}

// validateCosts returns an error if there are costs by which nothing can be predicted.
func (c *Config) validateCosts() error {
	switch {
	case c.Costs == nil:
		return nil
	case check.Nil(c.Costs):
		return fmt.Errorf("alltoall: Costs is a nil %T, want costs, or no value for none", c.Costs)
	}
	return c.Costs.Validate()
}
