package links

import (
	"math"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// shortestSum is from how many bytes on a sum may be taken by node: below it goes with the time of
// steps, of which a direct one has fewer.
const shortestSum = 4 << 10

// LeastSum is the length in bytes from which on a sum over the ranks of t is faster by node than
// direct, for SetNodes of a collective.Comm: math.MaxInt if it never is, and 0 if the links are not
// known. By node a sum has two more steps, each of messages within nodes, and moves more bytes
// there; but of nodes of r ranks the link between nodes carries an r-th of the bytes, in an r-th of
// the messages.
func (l Links) LeastSum(t alltoall.Topology) int {
	nodes := float64(len(t.Members(len(t.Node))))
	if l.Within == (Link{}) && l.Between == (Link{}) || nodes < 2 {
		return 0
	}
	each := float64(len(t.Node)) / nodes
	saved := (nodes - 1) / nodes * (l.Between.Beta - l.Within.Beta/each) // nanoseconds a byte
	lost := float64(l.Within.Alpha) - (nodes-1)*float64(max(l.Between.Alpha-l.Within.Alpha, 0))
	if saved <= 0 || lost/saved > math.MaxInt/2 {
		return math.MaxInt
	}
	return max(int(lost/saved), shortestSum)
}
