package striped

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// located is a link that knows where the ranks are.
type located struct{ transport.Transport }

func (located) Nodes() []int { return []int{0, 1} }

func TestNodesAreThoseOfTheLinks(t *testing.T) {
	require.Nil(t, open(t, 2, 3, Config{}, nil)[0].Nodes(), "no link knows")
	ends := open(t, 2, 3, Config{}, func(_ int, _ transport.Rank, l transport.Transport) transport.Transport {
		return located{l}
	})
	require.Equal(t, []int{0, 1}, transport.NodesOf(ends[1]))
}
