package switchyard

import (
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/router"
)

// A caller may leave anything in rows of padding, and it must not reach a product, in which zero
// times NaN is NaN. So a pass puts zeros in their place before a gate or an expert reads them.

// spares is memory that passes have given back.
type spares [][]float32

// take returns some of it, or nil.
func (s *spares) take() []float32 {
	last := len(*s) - 1
	if last < 0 {
		return nil
	}
	data := (*s)[last]
	*s = (*s)[:last]
	return data
}

func (s *spares) give(list [][]float32) { *s = append(*s, list...) }

// withoutPadding returns m with zeros in the rows that are padding: m itself if there are none,
// else a copy in memory that release gives back.
func (p *pass) withoutPadding(m blas32.General) blas32.General {
	if m.Rows == 0 || p.real == p.x.Rows {
		return m
	}
	c := mat.Resize(blas32.General{Data: p.spare.take()}, m.Rows, m.Cols)
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

// clean puts zeros where the pass's tokens are padding, in all that gates get of them.
func (p *pass) clean() {
	if p.real == p.x.Rows {
		return
	}
	p.side.Features = p.withoutPadding(p.side.Features)
	p.x = p.withoutPadding(p.x)
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
