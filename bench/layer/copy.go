package layer

import (
	"github.com/switchyard-moe/switchyard/bench/internal/workload"
	"github.com/switchyard-moe/switchyard/router"
)

// copier is one rank's share of the copies that a layer is held against: those of its own tokens'
// rows. No two write to the same memory, so they need not wait for each other.
type copier struct {
	dim        int
	token      []int32            // of each row sorted by expert
	entries    [][]workload.Entry // of each token
	runs       []span             // by expert
	x, y       []float32          // a row a token
	rows, home []float32          // sorted by expert, before and after
}

// span is the rows of one rank for one expert.
type span struct {
	begin, end int       // among those sorted by expert
	input      []float32 // their place in the expert's input
}

// newCopiers makes the copiers of a layer's ranks, with matrices of the layer's sizes and rows at
// the layer's places.
func newCopiers(o options, ranks []*workload.Rank) []*copier {
	all := make([]*copier, len(ranks))
	for r, rank := range ranks {
		n := len(rank.Decision.Token)
		all[r] = &copier{
			dim: o.Dim, token: rank.Decision.Token, entries: rank.Entries, x: rank.Tokens[0].Data, y: make([]float32, o.Tokens*o.Dim),
			rows: make([]float32, n*o.Dim), home: make([]float32, n*o.Dim),
		}
	}
	for host := range ranks { // with the experts that a layer places there
		layOut(all, ranks, o.Dim, host*o.Experts/o.ranks, (host+1)*o.Experts/o.ranks)
	}
	return all
}

// layOut makes the input of the experts [first, last) of one rank, and shows every copier its
// places in it.
func layOut(all []*copier, ranks []*workload.Rank, dim, first, last int) {
	total := 0
	for _, rank := range ranks {
		for e := first; e < last; e++ {
			begin, end := rank.Decision.Of(router.ExpertID(e))
			total += end - begin
		}
	}
	input := make([]float32, total*dim)
	for e := first; e < last; e++ {
		for r, rank := range ranks {
			begin, end := rank.Decision.Of(router.ExpertID(e))
			n := (end - begin) * dim
			all[r].runs = append(all[r].runs, span{begin: begin, end: end, input: input[:n:n]})
			input = input[n:]
		}
	}
}

func (c *copier) row(m []float32, i int) []float32 { return m[i*c.dim : (i+1)*c.dim] }

// often copies the rows as often as the steps of a layer say.
func (c *copier) often() {
	for i, t := range c.token {
		copy(c.row(c.rows, i), c.row(c.x, int(t)))
	}
	for _, r := range c.runs {
		copy(r.input, c.rows[r.begin*c.dim:])
	}
	for _, r := range c.runs {
		copy(c.home[r.begin*c.dim:], r.input)
	}
	for t, entries := range c.entries {
		for _, e := range entries {
			copy(c.row(c.y, t), c.row(c.home, e.Row))
		}
	}
}

// seldom copies the rows as seldom as can be.
func (c *copier) seldom() {
	for _, r := range c.runs {
		for i, t := range c.token[r.begin:r.end] {
			copy(c.row(r.input, i), c.row(c.x, int(t)))
		}
	}
	for t, entries := range c.entries {
		for _, e := range entries {
			r := c.runs[e.Expert]
			copy(c.row(c.y, t), c.row(r.input, e.Row-r.begin))
		}
	}
}

// wrong counts the wrong elements of the output after either: each token's row must be its own.
func (c *copier) wrong() (n int) {
	for t, entries := range c.entries {
		for i, v := range c.row(c.y, t) {
			if len(entries) > 0 && v != c.row(c.x, t)[i] {
				n++
			}
		}
	}
	return n
}
