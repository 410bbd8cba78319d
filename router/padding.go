package router

import (
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Padding is removed from a batch after the projection, so that the steps after it never see it:
// the logits of the real tokens are moved together, and their gradients apart again. The projection
// sees zeros instead.

// withoutPadding returns x with zeros in the rows that are padding, since their gradient 0 times
// NaN is NaN. It is x itself if they are zeros already, else a copy in the given memory.
func withoutPadding(x blas32.General, padding []bool, memory *grid) blas32.General {
	if x.Rows != len(padding) || zeroPadding(x, padding) {
		return x
	}
	memory.reset(x.Rows, x.Cols)
	for t := range x.Rows {
		if padding[t] {
			clear(memory.row(t))
			continue
		}
		copy(memory.row(t), mat.Row(x, t))
	}
	return memory.matrix()
}

// zeroPadding tells whether all rows of padding hold zeros.
func zeroPadding(x blas32.General, padding []bool) bool {
	for t, is := range padding {
		if is && slices.ContainsFunc(mat.Row(x, t), func(v float32) bool { return v != 0 }) {
			return false
		}
	}
	return true
}

// removePadding moves the logits of real tokens together, and cuts their rows into the batch's
// token groups. It fills ends, tokens and real.
func (c *choices) removePadding() {
	c.ends, c.real = append(c.ends[:0], c.in.Ends...), c.real[:0]
	c.tokens = 0
	if n := len(c.ends); n != 0 {
		c.tokens = c.ends[n-1]
	}
	if len(c.in.Padding) == 0 {
		return
	}
	begin := 0
	for g, end := range c.in.Ends {
		for t := begin; t < end; t++ {
			if !c.in.Padding[t] {
				copy(c.logits.row(len(c.real)), c.logits.row(t))
				c.real = append(c.real, int32(t))
			}
		}
		c.ends[g], begin = len(c.real), end
	}
	c.tokens = len(c.real)
	c.logits.reset(c.tokens, c.logits.cols)
}

// rowOf returns the row in the batch of token t.
func (c *choices) rowOf(t int) int {
	if len(c.in.Padding) == 0 {
		return t
	}
	return int(c.real[t])
}

// rows is the number of rows of the batch, padding included.
func (c *choices) rows() int {
	if n := len(c.in.Ends); n != 0 {
		return c.in.Ends[n-1]
	}
	return 0
}

// spread moves the real tokens' rows of g to their rows in the batch, and clears those of padding.
func (c *choices) spread(g *grid) {
	if len(c.in.Padding) == 0 {
		return
	}
	more := (c.rows() - c.tokens) * g.cols
	g.data = slices.Grow(g.data, more)[:len(g.data)+more]
	for t, i := c.rows()-1, len(c.real)-1; t >= 0; t-- {
		if i >= 0 && int(c.real[i]) == t {
			copy(g.row(t), g.row(i))
			i--
			continue
		}
		clear(g.row(t))
	}
}
