package router

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Drop says which tokens an expert keeps when more chose it than its capacity.
type Drop int

const (
	// ByPosition keeps the first tokens of the group. (DeepSpeed's top-k gate.)
	ByPosition Drop = iota
	// ByProbability keeps the tokens with the largest weights, and of equal ones the first. The weights are those
	// before any renormalisation after the drop; where all of them are 1, as with [SoftmaxAfter]
	// and K = 1, the first tokens are kept. (Megatron, DeepSpeed: "probs".)
	ByProbability

	drops int = iota
)

// String returns the rule's name.
func (d Drop) String() string {
	switch d {
	case ByPosition:
		return "by position"
	case ByProbability:
		return "by probability"
	}
	return fmt.Sprintf("Drop(%d)", int(d))
}

// capacity is the most tokens that an expert takes of a group: ⌈T·k/E·factor⌉, computed from left to right in float64;
// without bound if factor is 0. (Megatron, DeepSpeed.)
func capacity(tokens, k, experts int, factor float64) int {
	c := math.Ceil(float64(tokens*k) / float64(experts) * factor)
	if factor == 0 || c >= math.MaxInt32 {
		return math.MaxInt
	}
	return int(c)
}

// dropper marks what capacity drops of a group. It holds memory that is used again.
type dropper struct {
	rule   Drop
	taken  []int
	queue  []int32
	starts []int
}

// drop sets entry to dropped for each place of the group that its expert has no room for. Places are the group's
// choices, k for each token in token order: the expert chosen, its weight, and what became of it.
// counts holds the number of places of each expert.
func (d *dropper) drop(entry, chosen []int32, weight []float32, counts []int, capacity int) {
	if len(counts) == 0 || slices.Max(counts) <= capacity {
		return
	}
	if d.rule == ByPosition {
		d.byPosition(entry, chosen, len(counts), capacity)
		return
	}
	d.byProbability(entry, chosen, weight, counts, capacity)
}

func (d *dropper) byPosition(entry, chosen []int32, experts, capacity int) {
	d.taken = resize(d.taken, experts)
	clear(d.taken)
	for i, e := range chosen {
		if d.taken[e] == capacity {
			entry[i] = dropped
			continue
		}
		d.taken[e]++
	}
}

func (d *dropper) byProbability(entry, chosen []int32, weight []float32, counts []int, capacity int) {
	d.sortByExpert(chosen, counts)
	for e, n := range counts {
		if n <= capacity {
			continue
		}
		// A token chooses an expert once, so the order of places is the order of tokens.
		places := d.queue[d.starts[e]-n : d.starts[e]]
		slices.SortFunc(places, func(a, b int32) int {
			return cmp.Or(cmp.Compare(weight[b], weight[a]), cmp.Compare(a, b))
		})
		for _, i := range places[capacity:] {
			entry[i] = dropped
		}
	}
}

// sortByExpert fills queue with the places sorted by expert and then by token, and leaves the end of each expert's
// in starts.
func (d *dropper) sortByExpert(chosen []int32, counts []int) {
	d.queue, d.starts = resize(d.queue, len(chosen)), resize(d.starts, len(counts))
	begin := 0
	for e, n := range counts {
		d.starts[e] = begin
		begin += n
	}
	for i, e := range chosen {
		d.queue[d.starts[e]] = int32(i)
		d.starts[e]++
	}
}
