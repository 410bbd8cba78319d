package transport_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/faulty"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/shaped"
)

// located is a transport that knows where its ranks are.
type located struct {
	*inproc.Transport
	nodes []int
}

func (l located) Nodes() []int { return l.nodes }

// TestDecoratorsAndViewsKeepNodes: what a transport knows of nodes is known behind it, too, and a
// view numbers those of its members anew.
func TestDecoratorsAndViewsKeepNodes(t *testing.T) {
	ranks := inproc.New(4)
	defer ranks[2].Close()
	below := located{ranks[2], []int{0, 1, 1, 2}}
	for name, end := range map[string]transport.Transport{
		"itself": below, "shaped": shaped.New(below, shaped.Config{}), "faulty": faulty.New(below, faulty.Config{}),
	} {
		require.Equal(t, []int{0, 1, 1, 2}, transport.NodesOf(end), name)
		view, err := transport.Sub(end, 1, []transport.Rank{3, 2, 1})
		require.NoError(t, err)
		require.Equal(t, []int{0, 1, 1}, transport.NodesOf(view), name)
	}
	require.Nil(t, transport.NodesOf(shaped.New(ranks[2], shaped.Config{})), "not known")
	view, err := transport.Sub(ranks[2], 1, []transport.Rank{2})
	require.NoError(t, err)
	require.Nil(t, transport.NodesOf(view))
}

// TestDecoratorsKeepAbort: a rank that ends in disorder is dead for its peers behind decorators
// too.
func TestDecoratorsKeepAbort(t *testing.T) {
	for name, wrap := range map[string]func(transport.Transport) transport.Transport{
		"itself": func(b transport.Transport) transport.Transport { return b },
		"shaped": func(b transport.Transport) transport.Transport { return shaped.New(b, shaped.Config{}) },
		"faulty": func(b transport.Transport) transport.Transport { return faulty.New(b, faulty.Config{}) },
	} {
		ranks := inproc.New(2)
		end := wrap(ranks[0])
		transport.Abort(end, nil)
		_, err := ranks[1].Recv(t.Context(), 0, 1)
		require.ErrorIs(t, err, transport.ErrPeerDead, name)
		require.NoError(t, end.Close())
		require.NoError(t, ranks[1].Close())
	}
}

// TestAbortWithoutTheAbility closes the transport.
func TestAbortWithoutTheAbility(t *testing.T) {
	ranks := inproc.New(2)
	defer ranks[1].Close()
	transport.Abort(struct{ transport.Transport }{ranks[0]}, nil)
	_, err := ranks[1].Recv(t.Context(), 0, 1)
	require.ErrorIs(t, err, transport.ErrPeerClosed)
}
