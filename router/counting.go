package router

// Counting changes what [Balance] and [SequenceBalance] count and divide by. Several are joined
// with |.
type Counting uint

const (
	// CountPlain counts the experts with the K largest logits of each token in place of those that
	// it chose. Neither a bias nor limits to groups have a part in these, so that the loss can push
	// against the routing that happens. (Megatron, in all of its losses.)
	CountPlain Counting = 1 << iota
	// MeanLength divides by the square of the mean length of a token group's sequences, padding left
	// out of it, in place of each one's own. Sequences of nothing but padding count as ones of no
	// token. It goes with [SequenceBalance]. (Megatron.)
	MeanLength
)

// join returns the union of a loss's options, and whether all are among those allowed.
func join(options []Counting, allowed Counting) (all Counting, ok bool) {
	for _, o := range options {
		all |= o
	}
	return all, all&^allowed == 0
}

// plainCounts returns the counts of token group g by the largest logits. They are computed in value
// and stay until Backward.
func (c *choices) plainCounts(g *lossGroup) []int {
	n := len(g.counts)
	return c.plain[g.group*n : (g.group+1)*n]
}
