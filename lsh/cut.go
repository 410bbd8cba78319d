package lsh

import (
	"math"
	"math/bits"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// cutter finds where sorted rows are cut into clusters.
type cutter struct {
	rows  sorter
	first []bool    // of the sorted rows: whether a cluster begins there
	near  sorter    // boundaries among which distance decides
	norm  []float32 // of the points, squared
	level [65]int   // boundaries by the first code, or bit, in which neighbours differ
}

// exactly marks m-1 boundaries besides the first: those whose neighbours differ in the most
// significant codes, and of equally significant ones those whose neighbours are farthest apart, the
// first of equal ones. Distance is measured between rotated rows.
func (c *cutter) exactly(m int, h *Hasher, s *hashing) {
	clear(c.level[:])
	items := c.rows.items
	for i := 1; i < len(items); i++ {
		c.level[h.differ(items[i-1].key, items[i].key)]++
	}
	open, last := m-1, 0
	for ; open > c.level[last]; last++ {
		open -= c.level[last]
	}
	c.first = mat.Reuse(c.first, len(items))
	c.near.items = mat.Reuse(c.near.items, 0)
	for i := range items {
		l := -1
		if i > 0 {
			l = h.differ(items[i-1].key, items[i].key)
		}
		c.first[i] = l < last
		if l == last && open > 0 {
			c.near.items = append(c.near.items, item{at: int32(i)})
		}
	}
	c.farthest(open, h, s)
}

// differ returns which code is the first in which two tuples differ, or the number of codes if none
// is.
func (h *Hasher) differ(a, b uint64) int {
	if a == b {
		return h.cfg.Hashes
	}
	return (bits.LeadingZeros64(a^b) - 64 + h.bits()) / h.codeBits()
}

// farthest marks the n boundaries in c.near whose neighbouring rows are farthest apart.
func (c *cutter) farthest(n int, h *Hasher, s *hashing) {
	if n < len(c.near.items) {
		c.measure(h, s)
		c.near.sort(32)
	}
	for _, p := range c.near.items[:n] {
		c.first[p.at] = true
	}
}

// measure gives the boundaries in c.near keys that fall as the distance between the rows on both
// sides grows.
func (c *cutter) measure(h *Hasher, s *hashing) {
	rows := c.rows.items
	c.norm = mat.Reuse(c.norm, len(rows))
	for i, r := range rows {
		p := s.row(h, int(r.at))
		c.norm[i] = f32.Dot(p, p)
	}
	for k, p := range c.near.items {
		i := p.at
		dot := f32.Dot(s.row(h, int(rows[i-1].at)), s.row(h, int(rows[i].at)))
		distance := max(c.norm[i-1]+c.norm[i]-2*dot, 0)
		c.near.items[k].key = uint64(^math.Float32bits(distance))
	}
}

// leading marks the boundaries whose neighbours differ in the first depth bits of their tuples. The
// fraction of depth is the share of these clusters, drawn by their bits, that one more bit divides.
func (c *cutter) leading(depth float64, h *Hasher) {
	whole, fraction := math.Modf(depth)
	rest := h.bits() - int(whole)
	c.first = mat.Reuse(c.first, len(c.rows.items))
	for i, v := range c.rows.items {
		if i == 0 {
			c.first[i] = true
			continue
		}
		before := c.rows.items[i-1].key
		c.first[i] = before>>rest != v.key>>rest ||
			rest > 0 && before>>(rest-1) != v.key>>(rest-1) && uniform(v.key>>rest) < fraction
	}
}

// suitable returns the depth, at least 1, at which leading would make about that many clusters.
func (c *cutter) suitable(clusters float64, h *Hasher) float64 {
	clear(c.level[:])
	rows := c.rows.items
	for i := 1; i < len(rows); i++ {
		c.level[bits.LeadingZeros64(rows[i-1].key^rows[i].key)-64+h.bits()]++
	}
	made := 1.0
	for bit := range h.bits() {
		more := float64(c.level[bit])
		if made+more > clusters {
			return max(float64(bit)+(clusters-made)/more, 1)
		}
		made += more
	}
	return float64(h.bits())
}

// uniform hashes a number to one from 0 to 1. (SplitMix64's last steps: Steele et al. 2014.)
func uniform(v uint64) float64 {
	v += 0x9e3779b97f4a7c15
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return float64((v^v>>31)>>11) / (1 << 53)
}
