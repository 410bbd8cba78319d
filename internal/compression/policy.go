package compression

import (
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
)

// policy decides, for one rank and each rank that it sends to, whether compression pays: whether
// the time that the saved bytes would take on the link there, as measured, is longer than what
// compression was found to take.
type policy struct {
	placement alltoall.Placement
	perByte   []float64 // seconds on the link to each rank of the copy; 0 for this rank
	yes       []bool    // what goes to each rank is compressed
	perRow    float64   // seconds of all compression of a row, both ways; 0 before it is known
	passes    int       // since the last probe
}

const (
	finding   = 1. / 3 // of compression is finding centroids, until a pass has shown what all takes
	probeWait = 128    // passes without compression from one probe to the next
	firstWait = 2      // passes before the first
	advantage = 1.25   // by which savings must exceed the cost to begin
)

// newPolicy knows the links from a rank of a copy to the others. All ranks of a node share its link
// to other nodes.
func newPolicy(links links.Links, top alltoall.Topology, rank int, placement alltoall.Placement) *policy {
	ranks := placement.Ranks()
	p := &policy{placement: placement, perByte: make([]float64, ranks), yes: make([]bool, ranks)}
	node := func(r int) int {
		if len(top.Node) == 0 {
			return 0
		}
		return top.Node[r]
	}
	onNode := 0
	for r := range ranks {
		if node(r) == node(rank) {
			onNode++
		}
	}
	for r := range ranks {
		switch {
		case r == rank:
		case node(r) == node(rank):
			p.perByte[r] = links.Within.Beta * 1e-9
		default:
			p.perByte[r] = links.Between.Beta * 1e-9 * float64(onNode)
		}
	}
	return p
}

// enabled reports whether to compress anything of the next pass.
func (p *policy) enabled() bool { return slices.Contains(p.yes, true) }

// snapshot returns the policy as it is now, for wants alone.
func (p *policy) snapshot() *policy {
	return &policy{placement: p.placement, yes: slices.Clone(p.yes)}
}

// wants reports whether to compress the rows of an expert.
func (p *policy) wants(e int) bool {
	for r, yes := range p.yes {
		if begin, end := p.placement.Of(r); begin <= e && e < end {
			return yes
		}
	}
	return false
}

// shouldProbe counts a pass without compression, and reports whether to find out what compression
// would take.
func (p *policy) shouldProbe() bool {
	p.passes++
	if p.perRow == 0 {
		return p.passes > firstWait
	}
	return p.passes > probeWait
}

// recordProbe notes how long it took to find the centroids of a number of rows.
func (p *policy) recordProbe(rows int, took time.Duration) {
	p.passes = 0
	if rows > 0 {
		p.perRow = took.Seconds() / float64(rows) / finding
	}
}

// recordPass notes how long all compression of a pass took.
func (p *policy) recordPass(rows int, took time.Duration) {
	if rows > 0 {
		p.perRow = took.Seconds() / float64(rows)
	}
}

// update decides by the bytes of a row in the four exchanges together, and by rate, the centroids
// per row.
func (p *policy) update(rowBytes int, rate float64) {
	if p.perRow == 0 {
		return
	}
	for r, perByte := range p.perByte {
		need := p.perRow
		if !p.yes[r] {
			need *= advantage
		}
		p.yes[r] = float64(rowBytes)*(1-rate)*perByte > need
	}
}
