package collective

import (
	"cmp"
	"sort"

	"github.com/switchyard-moe/switchyard/transport"
)

// defaultLeast is the length in bytes from which on sums are taken by node where SetNodes is not
// told another one.
const defaultLeast = 4 << 10

// SetNodes says which ranks share a node, and so a link to the others: node[r] is the number of
// rank r's, as in alltoall.Topology. [Comm.AllReduce] and [Comm.AllReduceTree] then take sums of at
// least least bytes by node: a reduce-scatter within each, an all-reduce of the parts between them,
// and an all-gather within. That takes four steps instead of two. Of r ranks on each of N nodes
// those of one send (k+1)·(N-1)/N times the vector over its link together, where the node's leaves
// are k subtrees, instead of each rank as much and more. Sums within nodes are of whole subtrees of
// the one tree over all leaves, so no bit of a result changes.
//
// least is 0 for 4 KiB: shorter sums are direct, since their time is that of the steps. Measured
// links give a better one (LeastSum of links.Links), which may be above all lengths. All is direct
// without nodes (nil), if they have a rank each, or if there is but one, and also if the ranks of a
// node do not follow each other, whose subtrees are small.
//
// Every rank gives the same, between the same calls; no call and no pass is under way.
func (c *Comm) SetNodes(node []int, least int) error {
	if len(node) != 0 && len(node) != c.Size() {
		return c.misuse("set nodes", "the nodes of %d ranks, want %d", len(node), c.Size())
	}
	if least < 0 {
		return c.misuse("set nodes", "least is %d bytes, must not be negative", least)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.topology = newTopology(node, cmp.Or(least, defaultLeast))
	return nil
}

// topology is the nodes of a job, each of ranks that follow each other. It does not change.
type topology struct {
	first []int // the first rank of each node, and behind them the number of ranks
	least int   // bytes of a sum that is taken by node
}

// newTopology returns nil if sums by node send as much as direct ones.
func newTopology(node []int, least int) *topology {
	t, seen := &topology{least: least}, map[int]bool{}
	for r, n := range node {
		if r > 0 && n == node[r-1] {
			continue
		}
		if seen[n] {
			return nil
		}
		seen[n] = true
		t.first = append(t.first, r)
	}
	if len(t.first) < 2 || len(t.first) == len(node) {
		return nil
	}
	t.first = append(t.first, len(node))
	return t
}

// takes tells whether a sum of length elements is taken by node: if it has least bytes.
func (t *topology) takes(length int) bool { return t != nil && length > (t.least-1)/4 }

// nodes is their number, and ranks that of the ranks of one.
func (t *topology) nodes() int         { return len(t.first) - 1 }
func (t *topology) ranks(node int) int { return t.first[node+1] - t.first[node] }

// place is where a rank stands in the sum of a vector. The vector is cut into pieces, one for each
// node, and each piece into parts, one for each rank of a node. A rank has a share of the vector
// within its node, which is its part of each piece, and its part of the node's own piece among all.
type place struct {
	*topology
	node, local int // the rank is the local-th of its node
	length      int
}

func (t *topology) place(rank transport.Rank, length int) place {
	node := sort.SearchInts(t.first, int(rank)+1) - 1
	return place{topology: t, node: node, local: int(rank) - t.first[node], length: length}
}

// span is the elements [lo, hi) of the vector.
type span struct{ lo, hi int }

func (s span) and(t span) span { return span{max(s.lo, t.lo), min(s.hi, t.hi)} }
func (s span) size() int       { return max(s.hi-s.lo, 0) }

// part is the i-th of a number of parts of the piece of a node.
func (p place) part(node, i, parts int) span {
	lo, hi := Slice(p.length, node, p.nodes())
	from, to := Slice(hi-lo, i, parts)
	return span{lo + from, lo + to}
}

// own is this rank's part of its node's piece, which it sums for all.
func (p place) own() span { return p.part(p.node, p.local, p.ranks(p.node)) }

// share is what the i-th rank of this node has of the piece of a node.
func (p place) share(node, i int) span { return p.part(node, i, p.ranks(p.node)) }

// shareSize is the number of elements of this rank's share, of the pieces of the nodes before one.
func (p place) shareSize(before int) (n int) {
	for node := range before {
		n += p.share(node, p.local).size()
	}
	return n
}

// appendShare appends the memory of the share of the i-th rank of this node in a vector to bufs.
func (p place) appendShare(bufs [][]byte, of fused, i int) [][]byte {
	for node := range p.nodes() {
		s := p.share(node, i)
		bufs = of.appendViews(bufs, s.lo, s.hi)
	}
	return bufs
}

// others calls do for each rank of another node: theirs is what that one sums of this rank's share,
// and mine what this rank sums of that one's. Either may be empty, then its hi may be below its lo.
func (p place) others(do func(node, rank int, theirs, mine span)) {
	for node := range p.nodes() {
		if node == p.node {
			continue
		}
		for i := range p.ranks(node) {
			theirs := p.share(node, p.local).and(p.part(node, i, p.ranks(node)))
			mine := p.own().and(p.part(p.node, i, p.ranks(node)))
			do(node, p.first[node]+i, theirs, mine)
		}
	}
}
