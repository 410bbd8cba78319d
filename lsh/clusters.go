package lsh

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Clusters says which rows are sent as one. Rows and centroids are sorted by row group, the rows of
// one expert. A cluster has rows of one row group.
type Clusters struct {
	// RowEnds and CentroidEnds say where the rows and the centroids of each row group end. They begin
	// where the previous group's end.
	RowEnds, CentroidEnds []int
	// Of is the number of each row's centroid, among those of all row groups.
	Of []int32
}

// NewClusters makes clusters from the number of each row's cluster within its row group. The
// numbers of a group start at 0 and have no gaps; it panics if there is one.
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

// Rate returns the share of the rows that is sent: centroids divided by rows, 1 without rows.
func (c *Clusters) Rate() float64 {
	if len(c.Of) == 0 {
		return 1
	}
	return float64(c.Centroids()) / float64(len(c.Of))
}

// Count returns the numbers of rows and centroids of the row groups that wanted marks; nil marks
// all.
func (c *Clusters) Count(wanted func(group int) bool) (rows, centroids int) {
	for g := range c.RowEnds {
		if wanted == nil || wanted(g) {
			row, rowEnd, first, end := c.Group(g)
			rows, centroids = rows+rowEnd-row, centroids+end-first
		}
	}
	return rows, centroids
}

// Equal tells whether c and other have the same row groups and clusters.
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

// Validate returns all contradictions in c, or nil: ends that decrease, rows outside of the row
// groups, a row whose centroid belongs to another group, a centroid without rows.
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
