package router

import (
	"cmp"
	"slices"
)

// Balancer is a gate that balances its load by a bias of the choice, which follows the choices of
// the whole global batch and has no gradient. After an optimizer step, the caller adds up the
// tallies of all ranks, element by element, and passes every rank the sum. Tallies are whole
// numbers, so their sum does not depend on the number of ranks. Without that call the bias stays.
type Balancer interface {
	Gate
	// Bias returns the bias of each expert, which the caller may read and set; nil if the gate has
	// none, and then no tally either. It belongs to the gate's state, like its parameters.
	Bias() []float32
	// Tally returns the counts of the backward passes since the last Rebalance on this rank; nil if
	// the bias is fixed. It is valid until the gate's next call.
	Tally() []int64
	// Rebalance moves the bias by the sum of all ranks' tallies, and begins a new tally. It changes
	// nothing else: to drop a tally the caller sets the bias back afterwards.
	Rebalance(sum []int64)
}

var _ Balancer = (*tokenChoice)(nil)

// balancing is a rule by which a bias follows the load.
type balancing interface {
	// size is the number of elements of the tally.
	size(experts int) int
	// add adds what a batch that was taken backward shows.
	add(tally []int64, c *choices)
	// move moves the bias by the sum of all ranks' tallies.
	move(bias []float32, sum []int64)
}

// Bias is described at [Balancer].
func (g *tokenChoice) Bias() []float32 {
	if g.bias == nil {
		return nil
	}
	return g.bias.value
}

// Tally is described at [Balancer].
func (g *tokenChoice) Tally() []int64 { return g.tally }

// Rebalance is described at [Balancer].
func (g *tokenChoice) Rebalance(sum []int64) {
	if len(sum) != len(g.tally) {
		panic("router: sum of tallies of another gate")
	}
	if g.balancing != nil {
		g.balancing.move(g.bias.value, sum)
		clear(g.tally)
	}
}

// signUpdate adds rate to the bias of each expert with less than the mean load and takes it from
// those with more: b += rate·sign(mean − count), of all of which the mean is taken off where they
// are centred. (DeepSeek-V3's balancing without a loss and Megatron; torchtitan's, centred.)
type signUpdate struct {
	rate    float32
	centred bool
}

func (signUpdate) size(experts int) int { return experts }

func (signUpdate) add(tally []int64, c *choices) {
	for counts := range slices.Chunk(c.counts, c.logits.cols) {
		for e, n := range counts {
			tally[e] += int64(n)
		}
	}
}

func (u signUpdate) move(bias []float32, counts []int64) {
	total, up := int64(0), 0
	for _, n := range counts {
		total += n
	}
	signs := make([]int, len(counts))
	for e, n := range counts {
		signs[e] = cmp.Compare(total, n*int64(len(counts)))
		up += signs[e]
	}
	mean := 0.0
	if u.centred {
		mean = float64(up) / float64(len(counts))
	}
	for e, sign := range signs {
		bias[e] += float32(float64(u.rate) * (float64(sign) - mean))
	}
}
