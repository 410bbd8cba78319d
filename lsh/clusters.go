package lsh

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Clusters says which rows travel as one. Rows and centroids stand by row group; a group is the
// rows of one expert, and no cluster has rows of two.
type Clusters struct {
	// RowEnds and CentroidEnds say where the rows and the centroids of each row group end. They begin
	// where the previous group's end.
	RowEnds, CentroidEnds []int
	// Of is the number of each row's centroid, among those of all row groups.
	Of []int32
}

// NewClusters makes clusters of what each row group's rows belong to: numbers from 0 on without
// gaps, within each group. It panics if there is a gap.
func NewClusters(groups [][]int32) *Clusters {
	c := new(Clusters)
	for _, of := range groups {
		begin := int32(c.Centroids())
		end := begin
		for _, k := range of {
			c.Of = append(c.Of, begin+k)
			end = max(end, begin+k+1)
		}
		c.RowEnds = append(c.RowEnds, len(c.Of))
		c.CentroidEnds = append(c.CentroidEnds, int(end))
	}
	if err := c.Validate(); err != nil {
		panic(err.Error())
	}
	return c
}

// Groups is the number of row groups.
func (c *Clusters) Groups() int { return len(c.RowEnds) }

// Centroids is the number of clusters of all row groups.
func (c *Clusters) Centroids() int { return last(c.CentroidEnds) }

// Group returns the half-open ranges of the rows and the centroids of a row group.
func (c *Clusters) Group(g int) (row, rowEnd, centroid, centroidEnd int) {
	if g > 0 {
		row, centroid = c.RowEnds[g-1], c.CentroidEnds[g-1]
	}
	return row, c.RowEnds[g], centroid, c.CentroidEnds[g]
}

// Rate is the share of the rows that travel: centroids divided by rows, 1 without rows.
func (c *Clusters) Rate() float64 {
	if len(c.Of) == 0 {
		return 1
	}
	return float64(c.Centroids()) / float64(len(c.Of))
}

// Count returns how many rows and centroids the row groups have that wanted says; nil wants all.
func (c *Clusters) Count(wanted func(group int) bool) (rows, centroids int) {
	for g := range c.RowEnds {
		if wanted == nil || wanted(g) {
			row, rowEnd, first, end := c.Group(g)
			rows, centroids = rows+rowEnd-row, centroids+end-first
		}
	}
	return rows, centroids
}

// Equal tells whether both say the same.
func (c *Clusters) Equal(d *Clusters) bool {
	return slices.Equal(c.RowEnds, d.RowEnds) && slices.Equal(c.CentroidEnds, d.CentroidEnds) && slices.Equal(c.Of, d.Of)
}

// String lists the cluster of every row, numbered within its row group, a line a group.
func (c *Clusters) String() string {
	var b strings.Builder
	for g := range c.RowEnds {
		row, end, centroid, centroidEnd := c.Group(g)
		fmt.Fprintf(&b, "group %d, %d rows, %d centroids:", g, end-row, centroidEnd-centroid)
		for _, k := range c.Of[row:end] {
			fmt.Fprintf(&b, " %d", int(k)-centroid)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Validate returns all that contradicts itself in c, or nil: ends that fall, rows without a row
// group, a row whose centroid is another group's, a centroid without rows.
func (c *Clusters) Validate() error {
	if err := c.validateEnds(); err != nil {
		return err
	}
	var faults []error
	used := make([]bool, c.Centroids())
	for g := range c.RowEnds {
		row, end, centroid, centroidEnd := c.Group(g)
		for i := row; i < end; i++ {
			k := int(c.Of[i])
			if k < centroid || k >= centroidEnd {
				faults = append(faults, fmt.Errorf("lsh: row %d has centroid %d, want %d to %d of group %d", i, k, centroid, centroidEnd-1, g))
				continue
			}
			used[k] = true
		}
	}
	for k, is := range used {
		if !is {
			faults = append(faults, fmt.Errorf("lsh: centroid %d has no rows", k))
		}
	}
	return errors.Join(faults...)
}

func (c *Clusters) validateEnds() error {
	switch {
	case len(c.RowEnds) != len(c.CentroidEnds):
		return fmt.Errorf("lsh: rows of %d groups, centroids of %d", len(c.RowEnds), len(c.CentroidEnds))
	case !rising(c.RowEnds), !rising(c.CentroidEnds):
		return fmt.Errorf("lsh: ends %v of rows and %v of centroids must not fall", c.RowEnds, c.CentroidEnds)
	case last(c.RowEnds) != len(c.Of):
		return fmt.Errorf("lsh: %d rows, ends say %d", len(c.Of), last(c.RowEnds))
	case c.Centroids() > len(c.Of):
		return fmt.Errorf("lsh: %d centroids of %d rows", c.Centroids(), len(c.Of))
	}
	return nil
}

// rising tells whether no element is less than the one before, nor than 0.
func rising(ends []int) bool { return slices.IsSorted(ends) && (len(ends) == 0 || ends[0] >= 0) }

func last(ends []int) int {
	if len(ends) == 0 {
		return 0
	}
	return ends[len(ends)-1]
}
