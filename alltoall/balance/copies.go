package balance

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// Copies is a planner like EPLB (DeepSeek): it gives the experts that had the most rows in earlier
// batches copies on other ranks, in all slots that there are, and leaves the copies there for many
// batches. The rows of a batch are shared out evenly among the copies of their expert, whatever
// other rows these ranks have. As it goes by the past it shares nothing in its first batch, nor in
// the first one with another placement.
type Copies struct {
	// Every is the number of batches after which copies are placed anew, by the loads since they
	// were placed last; 0 means 100. The first placement goes by the first batch.
	Every int

	draft   draft
	batches int
	first   []int     // the placement of the experts that it knows
	loads   []int64   // of each expert, since the last placement
	holders [][]int32 // the ranks with a copy of each expert, its home first
	share   []int64   // the rows that are expected of each rank
}

var _ Planner = (*Copies)(nil)

// String states the settings.
func (c *Copies) String() string { return fmt.Sprintf("copies(every %d)", c.every()) }

func (c *Copies) every() int { return max(cmp.Or(c.Every, 100), 1) }

// Plan is described at [Planner].
func (c *Copies) Plan(p *Problem) alltoall.Allocation {
	d := &c.draft
	can := d.begin(p)
	if first := p.Loads.Placement.First; !slices.Equal(first, c.first) {
		c.first = append(c.first[:0], first...)
		c.batches, c.loads, c.holders = 0, zeros(c.loads, len(d.home)), make([][]int32, len(d.home))
	}
	if can && c.batches > 0 && (c.batches-1)%c.every() == 0 {
		c.place()
	}
	c.batches++
	for e, n := range d.total {
		c.loads[e] += n
	}
	if !can {
		return nil
	}
	for e, holders := range c.holders {
		for i, r := range holders {
			if i > 0 && d.slots[r] < p.Limits.Slots {
				d.give(e, int(r), d.total[e]/int64(len(holders)))
			}
		}
	}
	d.divide(byRank)
	return d.result()
}

// place fills the slots: the expert with the most rows a copy gets one more, on the rank of which
// the fewest rows are expected, for as long as there is such a rank. Of equal ones the lowest comes
// first.
func (c *Copies) place() {
	d := &c.draft
	c.share = zeros(c.share, len(d.Rows))
	for e, home := range d.home {
		c.holders[e] = append(c.holders[e][:0], home)
		c.share[home] += c.loads[e]
	}
	for e := c.hottest(); e >= 0; e = c.hottest() {
		to := c.lightest(e)
		if to < 0 {
			c.loads[e] = -c.loads[e] // no more of it
			continue
		}
		c.spread(e, -1)
		c.holders[e] = append(c.holders[e], int32(to))
		c.spread(e, 1)
		d.slots[to]++
	}
	clear(c.loads)
	d.restart()
}

// spread adds the expected rows of an expert to those of its holders.
func (c *Copies) spread(e int, sign int64) {
	for _, r := range c.holders[e] {
		c.share[r] += sign * (c.loads[e] / int64(len(c.holders[e])))
	}
}

// hottest is the expert with the most rows a copy that can have one more, or −1.
func (c *Copies) hottest() int {
	best := -1
	for e, n := range c.loads {
		if n > 0 && (best < 0 || n*int64(len(c.holders[best])) > c.loads[best]*int64(len(c.holders[e]))) {
			best = e
		}
	}
	return best
}

// lightest is the rank with the fewest expected rows that can take a copy of e, or −1.
func (c *Copies) lightest(e int) int {
	d, best := &c.draft, -1
next:
	for r, n := range c.share {
		if d.slots[r] >= d.problem.Limits.Slots || best >= 0 && n >= c.share[best] {
			continue
		}
		for _, h := range c.holders[e] {
			if int(h) == r {
				continue next
			}
		}
		best = r
	}
	return best
}
