package lsh

import (
	"fmt"
	"runtime"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/centroid"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Compressor clusters the rows of one batch after the other. It is not safe for concurrent use. Any
// number of its passes may be unfinished. Once it has seen the largest batch it allocates nothing
// except to start goroutines.
type Compressor struct {
	cfg     Config
	dim     int
	groups  int
	hasher  *Hasher
	gains   []float32 // by row group, and under LearnedChannels by column
	depth   []float64 // by row group: leading bits that suited the last batch, for Controlled
	workers []*worker
	free    []*Pass
}

// New returns a compressor of rows of dim columns for the given number of row groups, usually one
// for each expert.
func New(cfg Config, dim, groups int) (*Compressor, error) {
	hasher, err := NewHasher(cfg, dim)
	if err != nil {
		return nil, err
	}
	if groups < 0 {
		return nil, fmt.Errorf("lsh: %d groups", groups)
	}
	c := &Compressor{cfg: hasher.cfg, dim: dim, groups: groups, hasher: hasher}
	c.gains = slices.Repeat([]float32{cfg.Gain}, groups*cfg.Compensation.gainsOf(dim))
	c.depth = make([]float64, groups)
	n := cfg.Workers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	for range max(min(n, groups), 1) {
		c.workers = append(c.workers, new(worker))
	}
	return c, nil
}

// Config returns the configuration in effect, with defaults filled in.
func (c *Compressor) Config() Config { return c.cfg }

// Gains returns the factor of each row group under [LearnedGain], and of each of its columns in
// turn under [LearnedChannels], at first Config.Gain: parameters, which the caller changes in place
// between passes. Their gradients are [Pass.GainGrads].
func (c *Compressor) Gains() []float32 { return c.gains }

// Depths returns what the control loop of [Controlled] goes by: for each row group the number of
// leading bits that suited the last batch, 0 before the first one. It is nil for other bucketings.
// It is a copy, for [Compressor.SetDepths] of another compressor, which then goes on as this one.
func (c *Compressor) Depths() []float64 {
	if c.cfg.Bucketing != Controlled {
		return nil
	}
	return slices.Clone(c.depth)
}

// SetDepths sets what Depths returns. It is an error if the number of row groups is another, or if
// a depth is neither 0 nor from 1 to the number of bits of a tuple; then nothing is changed.
func (c *Compressor) SetDepths(depths []float64) error {
	if len(depths) != c.groups {
		return fmt.Errorf("lsh: depths of %d row groups, want %d", len(depths), c.groups)
	}
	for g, d := range depths {
		if most := float64(c.hasher.bits()); d != 0 && !(d >= 1 && d <= most) {
			return fmt.Errorf("lsh: the depth of row group %d is %v, want 0, or 1 to %v", g, d, most)
		}
	}
	copy(c.depth, depths)
	return nil
}

// Compress finds clusters among the rows of each row group, whose rows end at ends[group], and
// returns their centroids, of which each is the mean of its rows, added in ascending order. The
// centroids belong to the pass. x must stay as it is until the pass is released.
//
// Rows of very different lengths are not compressed together. A row that is more than 8 times as
// long as the median of its group (zeros left out) is a cluster of its own, and so is a row that is
// not finite. If there are more than 8 such long rows, and more than the rate gives them clusters,
// they are compressed among themselves, and so are rows that are 64 times shorter than the median.
// The other rows get the bits that they would get without these, and the number of clusters is the
// sum over these classes.
func (c *Compressor) Compress(x blas32.General, ends []int) (centroids blas32.General, p *Pass) {
	return c.CompressSome(x, ends, nil)
}

// CompressSome is Compress for the row groups that wanted marks; each row of the others is a
// cluster of its own. nil marks all.
func (c *Compressor) CompressSome(x blas32.General, ends []int, wanted func(group int) bool) (centroids blas32.General, p *Pass) {
	if len(ends) != c.groups || !rising(ends) || last(ends) != x.Rows {
		panic(fmt.Sprintf("lsh: %d rows of %d groups end at %v", x.Rows, c.groups, ends))
	}
	p = c.begin(x)
	p.clusters.Of = mat.Reuse(p.clusters.Of, x.Rows)
	p.clusters.CentroidEnds = mat.Reuse(p.clusters.CentroidEnds, c.groups)
	p.clusters.RowEnds = append(p.clusters.RowEnds[:0], ends...)
	p.whole = mat.Reuse(p.whole, c.groups)
	p.resetClassEnds()
	for g := range p.whole {
		p.whole[g] = wanted != nil && !wanted(g)
	}
	c.each(p, (*worker).cluster)
	total := 0
	for g, n := range p.clusters.CentroidEnds {
		row, end, _, _ := p.clusters.Group(g)
		for i := row; i < end; i++ {
			p.clusters.Of[i] += int32(total)
		}
		total += n
		p.clusters.CentroidEnds[g] = total
	}
	return p.average(), p
}

// CompressAs is Compress with the given clusters, which it copies. It panics if they are not valid
// or do not fit x.
func (c *Compressor) CompressAs(x blas32.General, as *Clusters) (centroids blas32.General, p *Pass) {
	if err := as.Validate(); err != nil {
		panic(err.Error())
	}
	if as.Groups() != c.groups || len(as.Of) != x.Rows {
		panic(fmt.Sprintf("lsh: clusters of %d rows in %d groups, want %d in %d", len(as.Of), as.Groups(), x.Rows, c.groups))
	}
	p = c.begin(x)
	p.clusters.Of = append(p.clusters.Of[:0], as.Of...)
	p.clusters.RowEnds = append(p.clusters.RowEnds[:0], as.RowEnds...)
	p.clusters.CentroidEnds = append(p.clusters.CentroidEnds[:0], as.CentroidEnds...)
	p.resetClassEnds()
	for g := range p.classEnds {
		_, _, first, end := p.clusters.Group(g)
		p.classEnds[g] = append(p.classEnds[g], end-first)
	}
	return p.average(), p
}

// begin returns a pass for x.
func (c *Compressor) begin(x blas32.General) *Pass {
	checkShape(x, x.Rows, c.dim, "rows")
	if len(c.free) == 0 {
		c.free = append(c.free, &Pass{c: c})
	}
	p := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	p.x, p.stage = x, compressed
	return p
}

// checkShape panics unless m has the given numbers of rows and columns.
func checkShape(m blas32.General, rows, cols int, what string) {
	if m.Rows != rows {
		panic(fmt.Sprintf("lsh: %d %s, want %d", m.Rows, what, rows))
	}
	if err := check.Matrix(m, cols); err != nil {
		panic(fmt.Sprintf("lsh: %s: %v", what, err))
	}
}

// average lists the members of each cluster and computes the centroids.
func (p *Pass) average() blas32.General {
	p.enroll()
	p.centroids = p.means.Matrix(p.clusters.Centroids(), p.c.dim)
	p.c.each(p, (*worker).average)
	return p.centroids
}

func (*worker) average(p *Pass, g int) {
	_, _, k, end := p.clusters.Group(g)
	for ; k < end; k++ {
		m := p.members(k)
		mean := mat.Row(p.centroids, k)
		centroid.Sum(mean, p.x.Data, p.x.Stride, m, 1/float32(len(m)))
		if !f32.Finite(mean) {
			meanOf(mean, p.x, m)
		}
	}
}

// meanOf sets dst to the mean of rows whose sum overflows float32.
func meanOf(dst []float32, x blas32.General, rows []int32) {
	for j := range dst {
		sum := 0.0
		for _, r := range rows {
			sum += float64(mat.Row(x, int(r))[j])
		}
		dst[j] = float32(sum / float64(len(rows)))
	}
}

// enroll sorts the rows by cluster and keeps their order within a cluster.
func (p *Pass) enroll() {
	p.begin = mat.Reuse(p.begin, p.clusters.Centroids()+1)
	p.order = mat.Reuse(p.order, len(p.clusters.Of))
	clear(p.begin)
	for _, k := range p.clusters.Of {
		p.begin[k+1]++
	}
	for k := range p.clusters.Centroids() {
		p.begin[k+1] += p.begin[k]
	}
	for i, k := range p.clusters.Of {
		p.order[p.begin[k]] = int32(i)
		p.begin[k]++
	}
	// The beginning of each cluster has become that of the next one.
	copy(p.begin[1:], p.begin)
	p.begin[0] = 0
}

// members returns the rows of a cluster, ascending.
func (p *Pass) members(k int) []int32 { return p.order[p.begin[k]:p.begin[k+1]] }
