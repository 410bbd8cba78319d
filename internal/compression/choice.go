package compression

import (
	"cmp"
	"math"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// A class of links: those between ranks of one node, and those between nodes. What stays on a rank
// takes none.
const (
	within = iota
	between
	classes
)

// priced is how rows of a class travel, the format of each leg in the order of
// [alltoall.Wire.Legs], with what that takes and loses: for one row on its links as long as legs
// are put together, and then for one row of a rank, wherever it goes.
type priced struct {
	legs    [4]alltoall.Format
	bytes   float64 // on all legs
	seconds float64
	lost    float64 // share of the gain of training
}

// prices are what a choice is made by, the same on every rank.
type prices struct {
	links    [classes]linkPrice
	formats  []formatPrice // Float32 first
	clusters []clusterPrice
	budget   float64          // the most that may be lost
	given    *[classes]priced // in place of formats, if those of the layer are given
}

// linkPrice is of the links of a class.
type linkPrice struct {
	share   float64 // of a rank's rows that take such a link
	perByte float64 // seconds
}

// formatPrice is of rows that travel by themselves.
type formatPrice struct {
	format  alltoall.Format
	bytes   float64
	seconds float64    // of writing a row and reading it
	lost    [4]float64 // on each leg, if all rows travel so
}

// clusterPrice is of passes in which all rows are clustered, for one row.
type clusterPrice struct {
	rate   float64         // clusters per row
	format alltoall.Format // of what stands for clusters
	// gradients is the codec of those of all rows, nil if they are clustered.
	gradients alltoall.Codec
	bytes     float64 // on all legs
	seconds   float64 // without those on links, less what experts save
	lost      float64
}

// choice is how rows travel.
type choice struct {
	of       [classes]priced
	clusters clusterPrice // with a rate all rows are clustered, and of is empty
	links    [classes]linkPrice
	plain    float64 // seconds in float32
	wide     float64 // bytes of a row in float32 on all legs
	seconds  float64
	lost     float64
	budget   float64
}

// choose returns what takes least time among all that loses no more than the budget; of several
// with the same time what loses least.
func (p *prices) choose() choice {
	best := p.chooseFormats()
	for i := range p.clusters {
		if c := p.choice(&p.clusters[i]); c.lost <= p.budget && c.better(&best) {
			best = c
		}
	}
	return best
}

// chooseFormats is choose without clusters.
func (p *prices) chooseFormats() choice {
	best := choice{seconds: math.Inf(1)}
	for _, near := range p.front(within) {
		for _, far := range p.front(between) {
			c := choice{seconds: near.seconds + far.seconds, lost: near.lost + far.lost}
			if c.lost <= p.budget && c.better(&best) {
				best, best.of = c, [classes]priced{within: near, between: far}
			}
		}
	}
	p.compare(&best)
	return best
}

// choice is that of clusters.
func (p *prices) choice(of *clusterPrice) choice {
	c := choice{clusters: *of, seconds: of.seconds + of.bytes*p.perByte(), lost: of.lost}
	p.compare(&c)
	return c
}

// compare adds what a choice is compared with.
func (p *prices) compare(c *choice) {
	c.budget, c.links, c.wide, c.plain = p.budget, p.links, 4*p.formats[0].bytes, 0
	for _, link := range p.links {
		c.plain += p.asTheyAre(link).seconds
	}
}

// again is the kind of a choice that was made before, by the prices of now: each row in a format,
// or the same clusters. It reports whether it can be chosen.
func (p *prices) again(before *choice) (c choice, ok bool) {
	if before.clusters.rate == 0 {
		return p.chooseFormats(), true
	}
	for i, of := range p.clusters {
		if of.rate == before.clusters.rate && of.format == before.clusters.format {
			return p.choice(&p.clusters[i]), of.lost <= p.budget
		}
	}
	return choice{}, false
}

// better reports whether c takes less time than d, or the same and loses less.
func (c *choice) better(d *choice) bool {
	return c.seconds < d.seconds || c.seconds == d.seconds && c.lost < d.lost
}

// perByte is the mean time of a byte of a row, wherever it goes.
func (p *prices) perByte() (seconds float64) {
	for _, l := range p.links {
		seconds += l.share * l.perByte
	}
	return seconds
}

// better orders by time, then by what is lost.
func (a priced) better(b priced) int {
	return cmp.Or(cmp.Compare(a.seconds, b.seconds), cmp.Compare(a.lost, b.lost))
}

// asTheyAre is rows in float32 on a class of links.
func (p *prices) asTheyAre(link linkPrice) priced {
	return link.weigh(p.formats[0].all())
}

// all is a format on all legs.
func (f *formatPrice) all() (w priced) {
	for leg := range w.legs {
		w = f.onLeg(w, leg)
	}
	return w
}

// onLeg is w with the format on one leg more.
func (f *formatPrice) onLeg(w priced, leg int) priced {
	w.legs[leg] = f.format
	w.bytes += f.bytes
	w.seconds += f.seconds
	w.lost += f.lost[leg]
	return w
}

// weigh is w for the share of rows that take the link, with the time on it.
func (l linkPrice) weigh(w priced) priced {
	w.seconds = l.share * (w.seconds + w.bytes*l.perByte)
	w.lost *= l.share
	return w
}

// wire is the formats of the choice, between nodes and within. In a pass whose rows are clustered
// they are those of what stands for clusters.
func (c *choice) wire() alltoall.Wire {
	near, far := c.of[within].legs, c.of[between].legs
	if f := c.clusters.format; c.clusters.rate > 0 {
		near, far = [4]alltoall.Format{f, f, f, f}, [4]alltoall.Format{f, f, f, f}
	}
	wire, inside := wireOf(far), wireOf(near)
	wire.Within = &inside
	return wire
}

func wireOf(legs [4]alltoall.Format) alltoall.Wire {
	return alltoall.Wire{Dispatch: legs[0], Combine: legs[1], DispatchBack: legs[2], CombineBack: legs[3]}
}

// front returns the ways of a class of which no other takes less and loses no more, by time. Those
// of a class that no row takes are rows as they are.
//
// Time and loss are sums over legs, so what is dominated on the first legs is so on all of them,
// and is left out early.
func (p *prices) front(class int) []priced {
	link := p.links[class]
	if link.share == 0 {
		return []priced{p.asTheyAre(link)}
	}
	if p.given != nil {
		return []priced{link.weigh(p.given[class])}
	}
	ways := []priced{{}}
	for leg := range 4 {
		var longer []priced
		for _, w := range ways {
			for i := range p.formats {
				longer = append(longer, p.formats[i].onLeg(w, leg))
			}
		}
		ways = undominated(longer, link.weigh)
	}
	for i := range ways {
		ways[i] = link.weigh(ways[i])
	}
	return ways
}

// undominated returns those of ways that are better than all that lose no more, by time; what they
// take and lose is that of weighed.
func undominated(ways []priced, weighed func(priced) priced) []priced {
	slices.SortStableFunc(ways, func(a, b priced) int { return weighed(a).better(weighed(b)) })
	kept := ways[:0]
	for _, w := range ways {
		if len(kept) == 0 || weighed(w).lost < weighed(kept[len(kept)-1]).lost {
			kept = append(kept, w)
		}
	}
	return kept
}
