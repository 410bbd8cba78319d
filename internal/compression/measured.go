package compression

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/transport"
)

// Measured are the links of some ranks by their topologies, each measured once.
type Measured map[string]links.Links

// Of measures links on a view of the ranks, the same on every rank, unless it has before.
func (m Measured) Of(nodes alltoall.Topology, view func() (transport.Transport, error)) (links.Links, error) {
	key := fmt.Sprint(nodes.Node)
	if l, ok := m[key]; ok {
		return l, nil
	}
	all, err := view()
	if err != nil {
		return links.Links{}, err
	}
	found, err := links.Measure(context.Background(), all, nodes)
	if err != nil {
		return links.Links{}, err
	}
	m[key] = found.Links
	return found.Links, nil
}
