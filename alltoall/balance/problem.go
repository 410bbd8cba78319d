package balance

import (
	"errors"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Problem is what a [Planner] decides by. It is the same on every rank.
type Problem struct {
	// Loads is the rows of the batch, of all ranks for all experts.
	Loads *alltoall.Loads
	// Costs is what rows and parameters cost.
	Costs Costs
	// Limits bounds what a rank does for others.
	Limits alltoall.Limits
	// Node is the node of each rank; an empty one puts all on one node.
	Node []int
}

// Costs is what a pass over an expert's rows takes: a forward pass alone, or both passes in
// training. They are integers, so that every rank computes the same with them.
type Costs struct {
	// Row is the picoseconds in which each rank computes a row.
	Row []int64
	// Leaf is how many rows more a leaf of an expert costs, if it has any: in training the gradient
	// of a leaf goes over all parameters of the expert, however few its rows are.
	Leaf int64
	// RowBytes is the bytes of a row on all its trips between a rank and another: there and back,
	// and in training the gradients as well.
	RowBytes int64
	// Params is the bytes of one expert's parameters, which go to each helper, and Gradient those
	// of its gradient, which comes back for each node of param/tree.Cover of a helper's leaves; it
	// is 0 without a backward pass.
	Params, Gradient int64
	// Within and Between are the picoseconds in which a rank sends or receives a byte over a link
	// within its node and to other nodes; 0 is free. A link carries both directions at once.
	Within, Between int64
}

// maxCost bounds every cost, so that a sum of many is an int64.
const maxCost = 1 << 40

// maxLeaf bounds Costs.Leaf.
const maxLeaf = 1 << 20

// Validate reports every fault of costs for a number of ranks.
func (c *Costs) Validate(ranks int) error {
	var faults []error
	if len(c.Row) != ranks {
		faults = append(faults, fmt.Errorf("balance: Costs.Row of %d ranks, want %d", len(c.Row), ranks))
	}
	check := func(name string, v int64) {
		if v < 0 || v > maxCost {
			faults = append(faults, fmt.Errorf("balance: Costs.%s is %d, want 0 to %d", name, v, int64(maxCost)))
		}
	}
	for r, v := range c.Row {
		check(fmt.Sprintf("Row[%d]", r), v)
	}
	if c.Leaf < 0 || c.Leaf > maxLeaf {
		faults = append(faults, fmt.Errorf("balance: Costs.Leaf is %d, want 0 to %d", c.Leaf, maxLeaf))
	}
	check("RowBytes", c.RowBytes)
	check("Params", c.Params)
	check("Gradient", c.Gradient)
	check("Within", c.Within)
	check("Between", c.Between)
	return errors.Join(faults...)
}

// Validate reports every fault of a problem that a planner cannot work with.
func (p *Problem) Validate() error {
	if p.Loads == nil {
		return errors.New("balance: Problem.Loads is nil")
	}
	l := p.Loads
	if err := l.Placement.Validate(); err != nil {
		return errtext.Errorf("balance: Problem.Loads: %w", err)
	}
	ranks := l.Placement.Ranks()
	faults := []error{p.Costs.Validate(ranks)}
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("balance: Problem."+format, args...))
		}
	}
	fault(len(l.Leaves) != ranks, "Loads.Leaves of %d ranks, want %d", len(l.Leaves), ranks)
	leaves, most := 0, math.MaxInt32/max(l.Placement.Experts(), 1)
	for r, n := range l.Leaves {
		fault(n < 0 || n > most-leaves, "Loads.Leaves[%d] is %d, want 0 to %d", r, n, most-leaves)
		leaves += min(max(n, 0), most-leaves)
	}
	want := leaves * l.Placement.Experts()
	fault(len(l.Rows) != want, "Loads.Rows has %d counts, want %d", len(l.Rows), want)
	for i, n := range l.Rows {
		if n < 0 {
			fault(true, "Loads.Rows[%d] is %d, must not be negative", i, n)
			break
		}
	}
	fault(p.Limits.Slots < 0, "Limits.Slots is %d, must not be negative", p.Limits.Slots)
	fault(p.Limits.Rows < 0, "Limits.Rows is %d, must not be negative", p.Limits.Rows)
	fault(len(p.Node) != 0 && len(p.Node) != ranks, "Node of %d ranks, want %d or none", len(p.Node), ranks)
	return errors.Join(faults...)
}

// Planner decides which experts are shared out over which ranks. Package balancetest tests one.
type Planner interface {
	// Plan returns an allocation that its Validate accepts for the loads and limits of p, which is
	// valid and is not changed; an empty one shares nothing. It depends on p alone, or on p and
	// what Plan was given before, and never on the rank: every rank plans for itself. What is
	// returned belongs to the caller. A planner may keep memory between calls, so one goroutine
	// uses it at a time.
	Plan(p *Problem) alltoall.Allocation
	// String states the planner and every setting, which all ranks share.
	String() string
}

// Plain is the planner that leaves every expert at home.
type Plain struct{}

var _ Planner = Plain{}

// Plan returns an empty allocation.
func (Plain) Plan(*Problem) alltoall.Allocation { return nil }

// String is "plain".
func (Plain) String() string { return "plain" }
