package batch

import (
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/freelist"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// A caller may leave anything in rows of padding, and it must not reach a product, in which zero
// times NaN is NaN. So zeros take its place before a gate or an expert reads them.

// Pool is memory that batches have given back. Its zero value is empty. Any goroutine may use it.
type Pool struct{ list freelist.List[[]float32] }

// take returns some of it, or memory without an element.
func (p *Pool) take() *[]float32 {
	if data := p.list.Take(); data != nil {
		return data
	}
	return new([]float32)
}

// isPadding reports whether token i is padding.
func (t *Tokens) isPadding(i int) bool { return len(t.Info.Padding) != 0 && t.Info.Padding[i] }

// WithoutPadding returns m, which has a row a token, with zeros in the rows that are padding: m
// itself if there are none, else a copy that is valid until Release.
func (t *Tokens) WithoutPadding(m blas32.General) blas32.General {
	if m.Rows == 0 || t.Real == t.X.Rows {
		return m
	}
	return t.Copy(m)
}

// Copy returns a copy of m, which has a row a token, with zeros in the rows that are padding. It is
// valid until Release.
func (t *Tokens) Copy(m blas32.General) blas32.General {
	data := t.pool.take()
	c := mat.Resize(blas32.General{Data: *data}, m.Rows, m.Cols)
	*data = c.Data
	t.lent = append(t.lent, data)
	mat.Copy(c, m)
	t.ZeroPadding(c)
	return c
}

// ZeroPadding puts zeros in the rows of m that are padding.
func (t *Tokens) ZeroPadding(m blas32.General) {
	for i := range m.Rows {
		if t.isPadding(i) {
			clear(mat.Row(m, i))
		}
	}
}

// clearPadding puts zeros where tokens are padding, in all that gates get of them.
func (t *Tokens) clearPadding() {
	if t.Real == t.X.Rows {
		return
	}
	t.Info.Features = t.WithoutPadding(t.Info.Features)
	t.X = t.WithoutPadding(t.X)
	t.Info.IDs = t.zeroPadding(t.Info.IDs)
	t.Info.Modality = t.zeroPadding(t.Info.Modality)
}

// zeroPadding returns list with 0 where a token is padding: list itself if it is so already.
func (t *Tokens) zeroPadding(list []int32) []int32 {
	copied := false
	for i := range list {
		if !t.isPadding(i) || list[i] == 0 {
			continue
		}
		if !copied {
			list, copied = slices.Clone(list), true
		}
		list[i] = 0
	}
	return list
}
