package compression

import (
	"math"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/internal/quality"
	"github.com/switchyard-moe/switchyard/internal/quant"
)

// candidates are the formats that a policy chooses from. Those of four bits are rotated, in case
// rows have outliers.
func candidates() []alltoall.Format {
	return []alltoall.Format{
		alltoall.Float32, alltoall.BF16, alltoall.FP8, alltoall.MXFP8, alltoall.NVFP4H, alltoall.MXFP4H, alltoall.Int4H,
	}
}

// unseen is a share of the gain that no training could show: less counts as nothing.
const unseen = 1e-4

// formatPrices are those of the candidates for rows of dim numbers. codecs has the seconds that a
// row takes in each.
func formatPrices(dim int, codecs []float64) (list []formatPrice) {
	for i, f := range candidates() {
		p := formatPrice{format: f, bytes: float64(f.Bytes(dim)), seconds: codecs[i]}
		for leg := range p.lost {
			if lost := quality.LostLeg(quality.Leg(leg), quant.Format(f)); lost >= unseen {
				p.lost[leg] = lost
			}
		}
		list = append(list, p)
	}
	return list
}

// codecSeconds measures how long it takes to write a row of dim numbers in each of the candidates,
// and to read it.
func codecSeconds(dim int) (list []float64) {
	const rows, tries = 16, 5
	row, state := make([]float32, dim), uint32(1)
	for i := range row {
		state = state*1664525 + 1013904223
		row[i] = float32(int32(state)) / (1 << 30)
	}
	buf := make([]byte, 0, 4*dim+1024)
	for _, f := range candidates() {
		best := math.Inf(1)
		for range tries {
			begin := time.Now()
			for range rows {
				buf = f.Append(buf[:0], row)
				if err := f.Decode(row, buf); err != nil {
					panic(err.Error())
				}
			}
			best = min(best, time.Since(begin).Seconds()/rows)
		}
		list = append(list, best)
	}
	list[0] = 0 // rows in float32 are not written
	return list
}

// givenBytes are the bytes of a row of dim numbers in the formats of w, by the class of its link.
func givenBytes(w alltoall.Wire, dim int) *[classes]priced {
	near := w
	if w.Within != nil {
		near = *w.Within
	}
	return &[classes]priced{
		within: {bytes: float64(near.RowBytes(dim))}, between: {bytes: float64(w.RowBytes(dim))},
	}
}

// meanGiven is the mean of the given bytes over the rows that take a link.
func (p *prices) meanGiven() (bytes float64) {
	all := p.links[within].share + p.links[between].share
	if all == 0 {
		return p.given[between].bytes
	}
	for class, l := range p.links {
		bytes += l.share / all * p.given[class].bytes
	}
	return bytes
}

// linkPrices are those of the ranks of a copy whose routers use all experts alike. The ranks of a
// node share its link to others; where nodes differ it is that of the largest. Whole rounds, if
// they have been measured, say better what a byte takes where all ranks send at once.
func linkPrices(l links.Links, t alltoall.Topology, p alltoall.Placement) (list [classes]linkPrice) {
	ranks, largest := p.Ranks(), 0
	for _, members := range t.Members(ranks) {
		largest = max(largest, len(members))
	}
	list[within].perByte = l.Within.Beta * 1e-9
	list[between].perByte = l.Between.Beta * 1e-9 * float64(largest)
	for class, scale := range list {
		list[class].perByte = scale.perByte * inRounds(l, t, ranks)
	}
	for from := range ranks {
		for to := range ranks {
			begin, end := p.Of(to)
			class := between
			switch {
			case from == to:
				continue
			case t.NodeOf(from) == t.NodeOf(to):
				class = within
			}
			list[class].share += float64(end-begin) / float64(max(p.Experts(), 1)*ranks)
		}
	}
	return list
}

// inRounds is how many times as long as by single messages a byte takes in a round of the ranks, as
// far as that has been measured.
func inRounds(l links.Links, t alltoall.Topology, ranks int) float64 {
	const most = 4 // or one such part: more is an error of measurement
	if l.Rounds.Ranks != ranks {
		return 1
	}
	round := func(l links.Links, bytes int) float64 {
		return l.Round(alltoall.UniformRound{
			Algorithm: alltoall.Direct, Topology: t, Ranks: ranks, Bytes: bytes, Crossing: 1,
		}).Seconds()
	}
	single := links.Links{Within: l.Within, Between: l.Between}
	last := len(l.Rounds.Bytes) - 1
	low, high := l.Rounds.Bytes[last-1], l.Rounds.Bytes[last]
	expected := round(single, high) - round(single, low)
	found := round(l, high) - round(l, low)
	if !(expected > 0 && found > 0) {
		return 1
	}
	return min(max(found/expected, 1./most), most)
}
