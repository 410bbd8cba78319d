package router

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Drop says which tokens an expert keeps when more chose it than its capacity.
type Drop int

const (
	// ByPosition keeps the first tokens of the token group. (DeepSpeed's top-k gate.)
	ByPosition Drop = iota
	// ByProbability keeps the tokens with the largest weights, and of equal ones the first. The
	// weights are those before any renormalisation after the drop; if all of them are 1, as with
	// [SoftmaxAfter] and K = 1, the first tokens are kept. (Megatron, DeepSpeed: "probs".)
	ByProbability
	// ByChoice keeps the tokens of which the expert is the first choice before those of which it is
	// the second, and so on; among those of one kind the first. (GShard, Tutel, DeepSpeed's top-2
	// gate, fairscale.)
	ByChoice
	// ByPriority is ByChoice with the tokens in descending order of the largest of their weights
	// before any renormalisation, equal ones by position, so that a batch loses its least certain
	// tokens. (Riquelme et al. 2021, batch-prioritised routing; Tutel, flaxformer.)
	ByPriority
	// AtRandom keeps tokens drawn at random in training, the same ones on any number of ranks, and
	// the first tokens in evaluation. (DeepSpeed's random token selection.)
	AtRandom

	drops int = iota
)

// String returns the rule's name.
func (d Drop) String() string {
	names := [...]string{"by position", "by probability", "by choice", "by priority", "at random"}
	if d < 0 || int(d) >= len(names) {
		return fmt.Sprintf("Drop(%d)", int(d))
	}
	return names[d]
}

// dropper marks what capacity drops of a token group. It holds memory that is used again.
type dropper struct {
	rule   Drop
	taken  []int
	queue  []int32
	starts []int
	key    []float32 // of each choice: an expert keeps those with the largest
	order  []int32   // tokens
}

// drop sets entry to dropped for each choice of the token group that its expert has no room for.
func (d *dropper) drop(c *choices, group, room int) {
	counts := c.countsOf(group)
	if len(counts) == 0 || slices.Max(counts) <= room {
		return
	}
	begin, end := c.group(group)
	a, b := begin*c.k, end*c.k
	p := groupChoices{entry: c.entry[a:b], chosen: c.chosen[a:b], k: c.k, room: room}
	d.taken = mat.Reuse(d.taken, len(counts))
	clear(d.taken)
	switch {
	case d.rule == ByProbability:
		d.largest(p, c.mid[a:b], counts)
	case d.rule == ByChoice:
		d.byChoice(p, d.inOrder(end-begin))
	case d.rule == ByPriority:
		d.byChoice(p, d.byWeight(end-begin, c.k, c.raw[a:b]))
	case d.rule == AtRandom && c.in.Train:
		d.largest(p, d.draw(c, begin, end), counts)
	default:
		d.byPosition(p)
	}
}

// groupChoices are the choices of a token group, k for each token in token order: the expert
// chosen, and what became of it. Each expert has the same room.
type groupChoices struct {
	entry, chosen []int32
	k, room       int
}

// take gives choice i its expert, if that has room left.
func (d *dropper) take(p groupChoices, i int) {
	e := p.chosen[i]
	switch {
	case p.entry[i] == withdrawn:
	case d.taken[e] == p.room:
		p.entry[i] = dropped
	default:
		d.taken[e]++
	}
}

func (d *dropper) byPosition(p groupChoices) {
	for i := range p.chosen {
		d.take(p, i)
	}
}

// byChoice goes through the first choices of all tokens in the order given, then through the second
// ones.
func (d *dropper) byChoice(p groupChoices, order []int32) {
	for j := range p.k {
		for _, t := range order {
			d.take(p, int(t)*p.k+j)
		}
	}
}

// inOrder returns the tokens in order.
func (d *dropper) inOrder(tokens int) []int32 {
	d.order = mat.Reuse(d.order, tokens)
	for t := range d.order {
		d.order[t] = int32(t)
	}
	return d.order
}

// byWeight returns the tokens in descending order of their largest weight.
func (d *dropper) byWeight(tokens, k int, weight []float32) []int32 {
	d.key = mat.Reuse(d.key, tokens)
	for t := range d.key {
		d.key[t] = slices.Max(weight[t*k : (t+1)*k])
	}
	order := d.inOrder(tokens)
	d.sort(order, d.key)
	return order
}

// draw returns a random number for each choice.
func (d *dropper) draw(c *choices, begin, end int) []float32 {
	d.key = mat.Reuse(d.key, (end-begin)*c.k)
	for t := begin; t < end; t++ {
		random := c.in.noise(c.rowOf(t), noiseDrop)
		for j := range c.k {
			d.key[(t-begin)*c.k+j] = float32(uniform(&random))
		}
	}
	return d.key
}

// sort sorts list by descending key, equal ones in ascending order.
func (d *dropper) sort(list []int32, key []float32) {
	slices.SortFunc(list, func(a, b int32) int {
		return cmp.Or(cmp.Compare(key[b], key[a]), cmp.Compare(a, b))
	})
}

// largest lets each expert keep the choices with the largest keys, and of equal ones the first.
func (d *dropper) largest(p groupChoices, key []float32, counts []int) {
	d.sortByExpert(p, counts)
	for e, n := range counts {
		if n <= p.room {
			continue
		}
		// A token chooses an expert once, so the order of choices is the order of tokens.
		list := d.queue[d.starts[e]-n : d.starts[e]]
		d.sort(list, key)
		for _, i := range list[p.room:] {
			p.entry[i] = dropped
		}
	}
}

// sortByExpert fills queue with the choices sorted by expert and then by token, and leaves the end
// of each expert's in starts.
func (d *dropper) sortByExpert(p groupChoices, counts []int) {
	d.queue, d.starts = mat.Reuse(d.queue, len(p.chosen)), mat.Reuse(d.starts, len(counts))
	begin := 0
	for e, n := range counts {
		d.starts[e] = begin
		begin += n
	}
	for i, e := range p.chosen {
		if p.entry[i] == withdrawn {
			continue
		}
		d.queue[d.starts[e]] = int32(i)
		d.starts[e]++
	}
}
