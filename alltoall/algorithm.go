package alltoall

import (
	"fmt"
	"strings"
)

// Algorithm says through which ranks the messages of a round reach their receivers. All give the
// same bits.
type Algorithm int

const (
	// Auto takes what [Config.Costs] predict to be fastest for a round's mean message, or Direct if
	// there are none.
	Auto Algorithm = iota
	// Direct posts all messages at once.
	Direct
	// Pairwise exchanges with one rank after the other.
	Pairwise
	// Bruck sends in as many steps as the number of ranks has bits, each message up to as many times.
	Bruck
	// Leader gathers what leaves a node at its first rank: 1D-hierarchical.
	Leader
	// Rails sends what leaves a node to the rank with the sender's position on the receiver's node,
	// and from there to the receiver: 2D-hierarchical.
	Rails
	// ThreeLevel is Rails in the other order, within the node first and there by way of pairs of
	// ranks.
	ThreeLevel
	// Dedup is Direct whose dispatch sends a token once to each rank, even if several of its experts
	// are there: for few experts and many choices.
	Dedup

	// NumAlgorithms is the number of values of Algorithm, Auto included.
	NumAlgorithms = int(iota)
)

// Algorithms lists all but Auto.
func Algorithms() []Algorithm {
	return []Algorithm{Direct, Pairwise, Bruck, Leader, Rails, ThreeLevel, Dedup}
}

var algorithmNames = [NumAlgorithms]string{"auto", "direct", "pairwise", "bruck", "leader", "rails", "three-level", "dedup"}

// String returns the algorithm's name, by which ParseAlgorithm finds it.
func (a Algorithm) String() string {
	if a < 0 || int(a) >= NumAlgorithms {
		return fmt.Sprintf("Algorithm(%d)", int(a))
	}
	return algorithmNames[a]
}

// ParseAlgorithm returns the algorithm of a name.
func ParseAlgorithm(name string) (Algorithm, error) {
	for a, n := range algorithmNames {
		if n == name {
			return Algorithm(a), nil
		}
	}
	return 0, fmt.Errorf("alltoall: no algorithm %q, want one of %s", name, strings.Join(algorithmNames[:], ", "))
}

// Validate returns an error if a is not an algorithm.
func (a Algorithm) Validate() error {
	if a < 0 || int(a) >= NumAlgorithms {
		return fmt.Errorf("alltoall: Algorithm is %d, want 0 to %d", a, NumAlgorithms-1)
	}
	return nil
}

// Block is what one rank has for another.
type Block struct{ From, To int }

// Bundle is blocks that travel to or from one rank as one message, in this order.
type Bundle struct {
	Peer   int
	Blocks []Block
}

// Step is what a rank sends and receives at once. It has all that it sends before the step begins.
type Step struct{ Sends, Recvs []Bundle }

// Steps returns what rank does in a: every block starts at its From and ends at its To, and a rank
// sends on only what an earlier step brought. It panics if a is Auto.
func (a Algorithm) Steps(t Topology, ranks, rank int) []Step {
	o := t.on(ranks)
	switch a {
	case Direct, Dedup:
		return directSteps(o, rank)
	case Pairwise:
		return pairwiseSteps(o, rank)
	case Bruck:
		return bruckSteps(o, rank)
	case Leader:
		return leaderSteps(o, rank)
	case Rails:
		return railsSteps(o, rank)
	case ThreeLevel:
		return threeLevelSteps(o, rank)
	}
	panic(fmt.Sprintf("alltoall: steps of %s", a))
}

// hop is the move of a block from one rank to another in a step.
type hop struct {
	step, from, to int
	block          Block
}

// stepsOfHops makes the steps of rank from the hops that begin or end there, without those that
// stay where they are. Hops of one step between two ranks must be listed in the same order on both.
func stepsOfHops(rank, steps int, hops func(yield func(hop))) []Step {
	list := make([]Step, steps)
	type key struct{ step, peer int }
	sends, recvs := map[key]int{}, map[key]int{}
	add := func(to *[]Bundle, at map[key]int, k key, b Block) {
		i, ok := at[k]
		if !ok {
			i = len(*to)
			at[k] = i
			*to = append(*to, Bundle{Peer: k.peer})
		}
		(*to)[i].Blocks = append((*to)[i].Blocks, b)
	}
	hops(func(h hop) {
		switch {
		case h.from == h.to:
		case h.from == rank:
			add(&list[h.step].Sends, sends, key{h.step, h.to}, h.block)
		case h.to == rank:
			add(&list[h.step].Recvs, recvs, key{h.step, h.from}, h.block)
		}
	})
	return list
}
