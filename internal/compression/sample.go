package compression

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/lsh"
)

// mostSampled is about how many rows of a rank are sampled in a pass.
const mostSampled = 128

// sample is rows that travel beside the centroids, each behind those of its expert. Their answers
// show how far restored ones are off. Their gradients are zeros, so that experts learn from
// centroids alone.
type sample struct {
	rows []int // ascending
	ends []int // by expert, where its rows end in rows

	// Of centroids and rows as they travel, and their answers' gradients; and of centroids alone.
	sent, dsent, answers, back blas32.General
}

// add samples rows of x, and returns them with their centroids.
func (t *sample) add(centroids, x blas32.General, c *lsh.Clusters) blas32.General {
	t.take(c)
	t.sent = t.join(t.sent, centroids, x, c)
	return t.sent
}

// take chooses rows at even distances among those of experts whose rows are clustered. No expert
// gets more rows than without compression.
func (t *sample) take(c *lsh.Clusters) {
	clustered := 0
	for g := range c.Groups() {
		if row, end, first, last := c.Group(g); last-first < end-row {
			clustered += end - row
		}
	}
	step := (clustered + mostSampled - 1) / mostSampled
	t.rows, t.ends = t.rows[:0], t.ends[:0]
	next := 0 // how many rows on the next one is
	for g := range c.Groups() {
		if row, end, first, last := c.Group(g); last-first < end-row {
			room := end - row - (last - first)
			for ; next < end-row; next += step {
				if room--; room >= 0 {
					t.rows = append(t.rows, row+next)
				}
			}
			next -= end - row
		}
		t.ends = append(t.ends, len(t.rows))
	}
}

// of returns the half-open range of the sampled rows of an expert.
func (t *sample) of(expert int) (begin, end int) {
	if expert > 0 {
		begin = t.ends[expert-1]
	}
	return begin, t.ends[expert]
}

// join sets to to the rows of centroids with those of sampled rows among them, which are rows of x,
// or zeros if x has none.
func (t *sample) join(to, centroids, x blas32.General, c *lsh.Clusters) blas32.General {
	to = mat.Resize(to, centroids.Rows+len(t.rows), centroids.Cols)
	for e := range t.ends {
		begin, end := t.of(e)
		_, _, first, last := c.Group(e)
		for k := first; k < last; k++ {
			copy(mat.Row(to, k+begin), mat.Row(centroids, k))
		}
		for i := begin; i < end; i++ {
			if x.Rows == 0 {
				clear(mat.Row(to, last+i))
				continue
			}
			copy(mat.Row(to, last+i), mat.Row(x, t.rows[i]))
		}
	}
	return to
}

// part sets to to the centroids' rows of what join has joined.
func (t *sample) part(to, joined blas32.General, c *lsh.Clusters) blas32.General {
	to = mat.Resize(to, joined.Rows-len(t.rows), joined.Cols)
	for e := range t.ends {
		begin, _ := t.of(e)
		_, _, first, last := c.Group(e)
		for k := first; k < last; k++ {
			copy(mat.Row(to, k), mat.Row(joined, k+begin))
		}
	}
	return to
}

// compare measures how far the answers of sampled rows, as restored, are from those that came.
func (t *sample) compare(restored, joined blas32.General, c *lsh.Clusters) (e squares) {
	for expert := range t.ends {
		begin, end := t.of(expert)
		_, _, _, last := c.Group(expert)
		for i := begin; i < end; i++ {
			got := mat.Row(restored, t.rows[i])
			for j, v := range mat.Row(joined, last+i) {
				d := float64(got[j]) - float64(v)
				e.off += float64(d * d)
				e.all += float64(float64(v) * float64(v))
			}
		}
	}
	return e
}
