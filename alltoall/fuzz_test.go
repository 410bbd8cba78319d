package alltoall

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// FuzzDecodeCounts gives the decoder what a hostile peer may send: it must return an error or
// numbers inside the limits, and never panic or allocate beyond them.
func FuzzDecodeCounts(f *testing.F) {
	ends := inproc.New(1)
	f.Cleanup(func() { ends[0].Close() })
	x, err := New(ends[0], Config{Placement: Even(2, 1), Dim: 4, MaxRows: 100})
	require.NoError(f, err)
	x.counted = 200
	good := Counts{Tokens: 9, Leaves: 3, Rows: []int{1, 2, 3, 0, 0, 4}}
	f.Add(x.encodeCounts(good, 0, crossings{}), x.encodeSplits(good.Rows))
	f.Add(x.encodeCounts(Counts{Rows: []int{}}, 0, crossings{}), []byte{})
	f.Fuzz(func(t *testing.T, words, splits []byte) {
		if len(words) != 4*(countsHeader+2) { // the length is checked before
			return
		}
		x.round.begin()
		a, err := x.decodeCounts(0, words)
		if err != nil {
			return
		}
		require.LessOrEqual(t, a.tokens, mostRows)
		require.LessOrEqual(t, a.leaves*len(a.rows), 200)
		if mat.Sum(a.rows) == 0 {
			splits = nil
		} else if len(splits) != 4*2*a.leaves { // the length is checked before
			return
		}
		c, err := x.decodeSplits(0, a, splits)
		if err != nil {
			return
		}
		require.Equal(t, mat.Sum(a.rows), mat.Sum(c.Rows))
		again, err := x.decodeCounts(0, x.encodeCounts(c, 0, crossings{}))
		require.NoError(t, err)
		require.Equal(t, a, again)
	})
}

// FuzzRelayedLengths gives a rank that relays blocks what a hostile peer might send: it must not
// panic, nor hold more than it may.
func FuzzRelayedLengths(f *testing.F) {
	f.Add(make([]byte, 3*lengthBytes))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 1000
		bundle := Leader.Steps(Nodes(4, 2), 4, 0)[0].Recvs[0]
		room := len(bundle.Blocks)*lengthBytes + inline
		if len(data) > room {
			return
		}
		ts := inproc.New(4)
		x, err := New(ts[0], Config{Placement: Even(4, 4), Dim: 1, Algorithm: Leader, Topology: Nodes(4, 2), MaxRelay: most})
		require.NoError(t, err)
		x.relay.begin(x, "fuzz")
		buf := make([]byte, room)
		n := copy(buf, data)
		x.relay.first.recvs = append(x.relay.first.recvs, transport.Message{Peer: 1, N: n})
		err = x.relay.land(arrival{bundle: bundle, buf: buf})
		require.LessOrEqual(t, x.relay.holding, most)
		if err != nil {
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
		}
		for _, tr := range ts {
			require.NoError(t, tr.Close())
		}
	})
}
