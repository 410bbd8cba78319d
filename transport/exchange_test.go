package transport_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// TestExchangeWithNoRankPanicsInItsCaller: a peer outside the job is a mistake of the caller, who
// can recover, also where goroutines do the exchange.
func TestExchangeWithNoRankPanicsInItsCaller(t *testing.T) {
	end := struct{ transport.Transport }{inproc.New(1)[0]}
	defer end.Close()
	for _, peer := range []transport.Rank{transport.None, 1, 2} {
		wrong := []transport.Message{{Peer: peer}}
		says := fmt.Sprintf("transport: Exchange with rank %d, outside 0..0", peer)
		require.PanicsWithValue(t, says, func() { _ = transport.Exchange(t.Context(), end, wrong, nil) })
		require.PanicsWithValue(t, says, func() { _ = transport.Exchange(t.Context(), end, nil, wrong) })
	}
}

// TestNoneIsNoRank: no world has a rank None.
func TestNoneIsNoRank(t *testing.T) {
	require.Negative(t, transport.None)
}
