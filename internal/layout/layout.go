// Package layout says where a rank stands in expert parallel × data parallel: the world is cut into
// copies of the experts, of as many consecutive ranks each.
package layout

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/transport"
)

// Config describes a world and its experts.
type Config struct {
	// Rank is this rank of the world, and Size the number of ranks.
	Rank, Size int
	// ExpertParallel is the number of ranks that share a copy of the experts; 0 means all.
	ExpertParallel int
	// Experts is the number of experts, and Hosted how many of them each rank of a copy has; nil
	// spreads them evenly.
	Experts int
	Hosted  []int
	// Order lists the experts in the order of the ranks that host them; nil is that of their numbers.
	Order []int
}

// Layout is where one rank stands.
type Layout struct {
	// Parallel is the number of ranks of one copy of the experts, and Copies the number of copies.
	Parallel, Copies int
	// Copy is the copy that this rank belongs to, and Rank its number in it.
	Copy, Rank int
	// Placement says which experts each rank of a copy hosts.
	Placement alltoall.Placement
	// Order says which expert stands at which position of the placement.
	Order Order
}

// New returns the layout of a rank. Faults in cfg have been found before.
func New(cfg Config) Layout {
	at := Layout{Parallel: cfg.ExpertParallel}
	if at.Parallel == 0 {
		at.Parallel = cfg.Size
	}
	at.Copies = cfg.Size / at.Parallel
	at.Copy, at.Rank = cfg.Rank/at.Parallel, cfg.Rank%at.Parallel
	at.Placement = alltoall.Even(cfg.Experts, at.Parallel)
	if len(cfg.Hosted) > 0 {
		at.Placement = alltoall.Hosted(cfg.Hosted)
	}
	at.Order = NewOrder(cfg.Order)
	return at
}

// World lists all ranks of the world.
func (at Layout) World() []transport.Rank { return Ranks(0, at.Copies*at.Parallel, 1) }

// OneCopy lists the ranks of this rank's copy of the experts.
func (at Layout) OneCopy() []transport.Rank { return Ranks(at.Copy*at.Parallel, at.Parallel, 1) }

// Replicas lists the ranks that host the experts that this one hosts.
func (at Layout) Replicas() []transport.Rank { return Ranks(at.Rank, at.Copies, at.Parallel) }

// Topology is that of the ranks of this copy, whose nodes it numbers anew.
func (at Layout) Topology(world alltoall.Topology) alltoall.Topology {
	return Nodes(at.OneCopy(), world.Node)
}

// Nodes is the topology of the given ranks, given the node of every rank, if it is known. Nodes are
// numbered from 0 in the order in which they come.
func Nodes[R ~int](ranks []R, nodes []int) alltoall.Topology {
	if len(nodes) == 0 {
		return alltoall.Topology{}
	}
	number := map[int]int{}
	list := make([]int, len(ranks))
	for i, r := range ranks {
		n, seen := number[nodes[r]]
		if !seen {
			n = len(number)
			number[nodes[r]] = n
		}
		list[i] = n
	}
	return alltoall.Topology{Node: list}
}

// Ranks lists count ranks from first, step apart.
func Ranks(first, count, step int) []transport.Rank {
	list := make([]transport.Rank, count)
	for i := range list {
		list[i] = transport.Rank(first + i*step)
	}
	return list
}

// CheckOrder returns what is wrong with an order of size ranks, which must list each of them once.
func CheckOrder(order []int, size int) error {
	seen := make([]bool, size)
	for _, r := range order {
		if r < 0 || r >= size || seen[r] {
			return fmt.Errorf("rank %d is outside 0..%d or listed twice in %v", r, size-1, order)
		}
		seen[r] = true
	}
	if len(order) != size {
		return fmt.Errorf("%d ranks, want all %d", len(order), size)
	}
	return nil
}

// CheckHosted returns what is wrong with the numbers of experts that the ranks of a copy host; nil
// is right.
func CheckHosted(hosted []int, experts, ranks int) error {
	if len(hosted) == 0 {
		return nil
	}
	if len(hosted) != ranks {
		return fmt.Errorf("Hosted has %d numbers, want one for each of the %d ranks of a copy", len(hosted), ranks)
	}
	total := 0
	for r, n := range hosted {
		if n < 0 || n > experts {
			return fmt.Errorf("Hosted[%d] is %d, want 0 to the %d experts", r, n, experts)
		}
		total += n
	}
	if total != experts {
		return fmt.Errorf("Hosted has the sum %d, want the %d experts", total, experts)
	}
	return nil
}

// Pick returns the numbers of the given ranks, in their order, if there are any.
func Pick[R ~int](ranks []R, numbers []int) []int {
	if len(numbers) == 0 {
		return nil
	}
	list := make([]int, len(ranks))
	for i, r := range ranks {
		list[i] = numbers[r]
	}
	return list
}

// CheckMachineHosted returns what is wrong with the numbers of experts that all ranks host; nil is
// right.
func CheckMachineHosted(hosted []int, ranks int) error {
	if len(hosted) > 0 && len(hosted) != ranks {
		return fmt.Errorf("Hosted has %d numbers, want one for each of the %d ranks", len(hosted), ranks)
	}
	for r, n := range hosted {
		if n < 0 {
			return fmt.Errorf("Hosted[%d] is %d, must not be negative", r, n)
		}
	}
	return nil
}

// HostedOfCopies returns the numbers of experts of the ranks of each copy, which must be the same
// in all of them, given those of all ranks. parallel is the number of ranks of a copy, 0 all of
// them; whether it divides them is checked elsewhere.
func HostedOfCopies(hosted []int, parallel int) ([]int, error) {
	if parallel <= 0 || parallel > len(hosted) {
		return hosted, nil
	}
	for r, n := range hosted {
		if first := hosted[r%parallel]; n != first {
			return nil, fmt.Errorf("switchyard: the machine has Hosted[%d] %d and Hosted[%d] %d, which are ranks "+
				"that host the same experts: want them alike, or Config.Hosted", r, n, r%parallel, first)
		}
	}
	return hosted[:parallel], nil
}
