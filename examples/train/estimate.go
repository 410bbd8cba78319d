package main

import (
	"fmt"
	"io"
)

// printEstimate tells what the layers with experts will take on a rank with the most tokens.
func (o options) printEstimate(to io.Writer) error {
	tokens := shareOf(o.groups/o.micro, o.ranks, 0).count * o.batch / o.groups * o.seq
	for block := 1; block < o.layers; block += 2 {
		e, err := o.layerConfig(block).Estimate(o.ranks, tokens)
		if err != nil {
			return fmt.Errorf("layer of block %d: %w", block, err)
		}
		fmt.Fprintf(to, "layer of block %d, %d tokens a pass on each of %d ranks, in all %.1f MB with the optimizer:\n%v",
			block, tokens, o.ranks, float64(e.Training(0)+o.momentBytes(int(e.Parameters/4)))/1e6, e)
	}
	return nil
}
