package striped

import "github.com/switchyard-moe/switchyard/transport"

var _ transport.Locator = (*Transport)(nil)

// Nodes are those of the first link, if it knows them: all links join the same ranks. See
// [transport.Locator].
func (t *Transport) Nodes() []int { return transport.NodesOf(t.links[0]) }
