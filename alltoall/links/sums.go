package links

import (
	"math"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// shortestSum is from how many bytes on a sum may be taken by node: below it goes with the time of
// steps, of which a direct one has fewer.
const shortestSum = 8 << 10

// LeastSum is the length in bytes from which on a sum over the ranks of t is faster by node than
// direct, for SetNodes of a collective.Comm: math.MaxInt if it never is, and 0 if the links are not
// known. By node a sum has two more steps, each of messages within nodes, and moves more bytes
// there; but the link that r ranks share carries an r-th of the bytes.
func (l Links) LeastSum(t alltoall.Topology) int {
	nodes := len(t.Members(len(t.Node)))
	if l.Within == (Link{}) && l.Between == (Link{}) || nodes < 2 {
		return 0
	}
	each := float64(len(t.Node)) / float64(nodes)
	share := float64(nodes-1) / float64(nodes)
	saved := share * (l.Between.Beta - l.Within.Beta/each) // nanoseconds a byte
	if least := float64(l.Within.Alpha) / saved; saved > 0 && least < math.MaxInt/2 {
		return max(int(least), shortestSum)
	}
	return math.MaxInt
}
