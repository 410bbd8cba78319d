package main

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/alltoall/balance"
)

// sharing is how the layers share their experts out.
func (o options) sharing() balance.Config {
	when := map[string]balance.When{shareNever: balance.Never, shareAuto: balance.Auto, shareAlways: balance.Always}
	return balance.Config{When: when[o.shareExperts]}
}

// sharedOut sums what was shared out in the passes of training of one layer.
type sharedOut struct {
	passes, experts, copies, rows int
	before, after, time           float64 // of the rank with most, over the mean: rows, time after
}

func (s *sharedOut) add(b balance.Stats) {
	s.passes++
	s.experts, s.copies, s.rows = s.experts+b.Experts, s.copies+b.Copies, s.rows+b.Rows
	s.before, s.after, s.time = s.before+b.RowsBefore, s.after+b.RowsAfter, s.time+b.TimeAfter
}

// String is the means over the passes.
func (s sharedOut) String() string {
	n := float64(s.passes)
	return fmt.Sprintf("max/mean %.2f before and %.2f after sharing, of time by prediction %.2f; in a pass %.1f experts on %.1f other ranks with %.0f rows",
		s.before/n, s.after/n, s.time/n, float64(s.experts)/n, float64(s.copies)/n, float64(s.rows)/n)
}

// sharedOf is what was shared out of the i-th layer, in all micro-batches.
func (t *trainer) sharedOf(i int) (all sharedOut) {
	for _, of := range t.flight {
		s := of.layers[i].shared
		all.passes, all.experts, all.copies, all.rows = all.passes+s.passes, all.experts+s.experts, all.copies+s.copies, all.rows+s.rows
		all.before, all.after, all.time = all.before+s.before, all.after+s.after, all.time+s.time
	}
	return all
}

// added adds the numbers of a list to those of another, which is empty at first.
func added(to, list []int) []int {
	if to == nil {
		to = make([]int, len(list))
	}
	for i, n := range list {
		to[i] += n
	}
	return to
}
