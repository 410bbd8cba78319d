package main

import (
	"math/rand/v2"

	"github.com/switchyard-moe/switchyard/examples/internal/gpt"
)

// The names of -objective.
const (
	nextObjective   = "next"
	maskedObjective = "masked"
)

// maskByte stands in the input for a byte that is to be told, and maskedShare is the part of the
// bytes that it replaces.
const (
	maskByte    = 1
	maskedShare = 0.15
)

// maskStream keeps the draws of masks apart from those of other users of the same seed.
const maskStream = 0x6d61736b << 32

// masks draws which bytes of a sequence are replaced, one at least.
func masks(r *rand.Rand, seq int) []bool {
	list, any := make([]bool, seq), false
	for i := range list {
		list[i] = r.Float64() < maskedShare
		any = any || list[i]
	}
	if !any {
		list[r.IntN(seq)] = true
	}
	return list
}

// mask makes of b, which has this rank's share of some sequences, a batch of masked prediction: the
// targets are its inputs, of which some are replaced, and these alone count. source draws for the
// i-th of all sequences. The loss is the mean over the masked bytes of all of them.
func (d *dataset) mask(b *gpt.Batch, source func(i int) *rand.Rand) {
	o := d.options
	first := d.share.first * b.LeafTokens / o.seq
	d.targets, d.scored = append(d.targets[:0], b.Inputs...), d.scored[:0]
	b.GlobalTokens = 0
	for i := range o.batch {
		list := masks(source(i), o.seq)
		for at, masked := range list {
			if !masked {
				continue
			}
			b.GlobalTokens++
			if own := (i-first)*o.seq + at; own >= 0 && own < len(b.Inputs) {
				b.Inputs[own] = maskByte
			}
		}
		if i >= first && len(d.scored) < len(b.Inputs) {
			d.scored = append(d.scored, list...)
		}
	}
	b.Targets, b.Scored = d.targets, d.scored
}
