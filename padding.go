package switchyard

import (
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/router"
)

// Rows of padding are the caller's to fill as he likes: what is in them (NaN, say) must not reach a product, where zero
// times NaN is NaN. So zeros take their place before anything reads them, and gates and experts, those of the
// program too, meet nothing else.

// withoutPadding returns m with zeros in the rows that are padding: m itself if none is, else a copy in memory that
// release takes back.
func (p *pass) withoutPadding(l *Layer, m blas32.General) blas32.General {
	if m.Rows == 0 || p.real == p.x.Rows {
		return m
	}
	c := mat.Resize(blas32.General{Data: l.takeSpare()}, m.Rows, m.Cols)
	p.lent = append(p.lent, c.Data)
	for t := range m.Rows {
		if p.padded(t) {
			clear(mat.Row(c, t))
			continue
		}
		copy(mat.Row(c, t), mat.Row(m, t))
	}
	return c
}

// takeSpare returns memory that a pass has given back, or nil.
func (l *Layer) takeSpare() []float32 {
	last := len(l.spare) - 1
	if last < 0 {
		return nil
	}
	data := l.spare[last]
	l.spare = l.spare[:last]
	return data
}

// giveBack takes back the memory of the pass's copies.
func (l *Layer) giveBack(p *pass) {
	l.spare = append(l.spare, p.lent...)
	p.lent = nil
}

// clean puts zeros where the pass's tokens are padding, in all that gates are told of them.
func (p *pass) clean(l *Layer) {
	if p.real == p.x.Rows {
		return
	}
	p.side.Features = p.withoutPadding(l, p.side.Features)
	p.x = p.withoutPadding(l, p.x)
	p.side.IDs = zeroed32(p.side, p.side.IDs)
	p.side.Modality = zeroed32(p.side, p.side.Modality)
}

// zeroed32 returns list with 0 where a token is padding: list itself if it says so already.
func zeroed32(side router.Batch, list []int32) []int32 {
	copied := false
	for t := range list {
		if !side.Padding[t] || list[t] == 0 {
			continue
		}
		if !copied {
			list, copied = slices.Clone(list), true
		}
		list[t] = 0
	}
	return list
}
