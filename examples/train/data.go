package main

import (
	"bytes"
	"math/rand/v2"

	"github.com/switchyard-moe/switchyard/examples/internal/gpt"
)

// share is the run of a batch's leaves that a rank holds.
type share struct{ first, count int }

// shareOf spreads leaves over ranks as evenly as can be: the first ranks hold one more where there is a
// remainder, and the last ranks none where there are more ranks than leaves.
func shareOf(leaves, ranks, rank int) share {
	each, more := leaves/ranks, leaves%ranks
	s := share{first: rank*each + min(rank, more), count: each}
	if rank < more {
		s.count++
	}
	return s
}

// dataset makes one rank's share of the batches. What a global batch holds depends on the options alone.
type dataset struct {
	train, held []byte
	options     options
	share       share

	inputs, targets []byte // of the last batch
}

// trainBatch is the step-th batch: sequences from anywhere in the training text.
func (d *dataset) trainBatch(step int) gpt.Batch {
	const stream = 0x64617461 << 32
	r := rand.New(rand.NewPCG(d.options.seed, stream|uint64(step)))
	starts := make([]int, d.options.batch)
	for i := range starts {
		starts[i] = r.IntN(len(d.train) - d.options.seq)
	}
	return d.fill(d.train, starts)
}

// heldBatches is the number of batches that the held-out text makes; less than a batch at its end is left out.
func (d *dataset) heldBatches() int {
	return (len(d.held) - 1) / d.options.seq / d.options.batch
}

// heldWindow is the start of the i-th sequence of the held-out text.
func (d *dataset) heldWindow(i int) int { return i * d.options.seq }

// heldBatch is the i-th of n batches over the held-out text. Where n is below heldBatches, their sequences are spread
// evenly over it.
func (d *dataset) heldBatch(i, n int) gpt.Batch {
	o := d.options
	starts := make([]int, o.batch)
	for j := range starts {
		starts[j] = d.heldWindow((i*o.batch + j) * d.heldBatches() / n)
	}
	return d.fill(d.held, starts)
}

// fill copies this rank's sequences of those that begin at starts.
func (d *dataset) fill(text []byte, starts []int) gpt.Batch {
	o := d.options
	each := o.batch / o.groups // sequences of a leaf
	d.inputs, d.targets = d.inputs[:0], d.targets[:0]
	for _, s := range starts[d.share.first*each : (d.share.first+d.share.count)*each] {
		d.inputs = append(d.inputs, text[s:s+o.seq]...)
		d.targets = append(d.targets, text[s+1:s+o.seq+1]...)
	}
	return gpt.Batch{
		Inputs: d.inputs, Targets: d.targets,
		FirstLeaf: d.share.first, LeafTokens: each * o.seq, GlobalTokens: o.batch * o.seq,
	}
}

// prompt is the start of the held-out text's first whole paragraph, or of the text if it has none.
func (d *dataset) prompt() []byte {
	const longest = 48
	gap := []byte("\n\n")
	start := bytes.Index(d.held, gap) + len(gap)
	if start < len(gap) || start+longest > len(d.held) {
		start = 0
	}
	return d.held[start:min(start+longest, len(d.held))]
}
