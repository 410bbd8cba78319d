package layout

import (
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/transport"
)

// Comm returns collectives over a view of the given ranks, which take sums by node: node is that of
// every rank of the world, if it is known, and l are the links.
func Comm[R ~int](view transport.Transport, ranks []R, node []int, l links.Links) (*collective.Comm, error) {
	c := collective.New(view)
	return c, SetNodes(c, ranks, node, l)
}

// SetNodes has the collectives of Comm take sums by other nodes.
func SetNodes[R ~int](c *collective.Comm, ranks []R, node []int, l links.Links) error {
	t := Nodes(ranks, node)
	return c.SetNodes(t.Node, l.LeastSum(t))
}
