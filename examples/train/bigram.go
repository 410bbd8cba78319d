package main

import "math"

// bigram is the yardstick: a model that knows how often each byte followed each other byte in the
// training text, with one added to every count so that nothing is impossible.
type bigram struct {
	pairs [256][256]int
	total [256]int
}

func newBigram(text []byte) *bigram {
	b := new(bigram)
	for i := 1; i < len(text); i++ {
		b.pairs[text[i-1]][text[i]]++
		b.total[text[i-1]]++
	}
	return b
}

// loss is minus the logarithm, in nats, of the probability that next follows previous.
func (b *bigram) loss(previous, next byte) float64 {
	return -math.Log(float64(b.pairs[previous][next]+1) / float64(b.total[previous]+256))
}

// heldOutLoss is the mean loss over the bytes of the held-out text that the big model is asked to
// predict as well.
func (b *bigram) heldOutLoss(d *dataset) float64 {
	sum, n := 0.0, d.evalBatches()
	for i := range n {
		for _, start := range d.heldStarts(i, n) {
			for at := range d.options.seq {
				sum += b.loss(d.held[start+at], d.held[start+at+1])
			}
		}
	}
	return sum / float64(n*d.options.batch*d.options.seq)
}
