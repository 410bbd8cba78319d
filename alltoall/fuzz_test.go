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
		for _, digests := range []bool{false, true} { // with them what does not fit is an error later
			x.round.digests = digests
			x.relay.begin(x, "fuzz")
			buf := make([]byte, room)
			n := copy(buf, data)
			x.relay.first.recvs = append(x.relay.first.recvs[:0], transport.Message{Peer: 1, N: n})
			err = x.relay.land(arrival{bundle: bundle, buf: buf})
			require.LessOrEqual(t, max(x.relay.holding, x.relay.sized), most)
			if err != nil {
				require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
			}
			x.relay.end()
		}
		for _, tr := range ts {
			require.NoError(t, tr.Close())
		}
	})
}

// FuzzDecodeLoads gives the decoder of all counts what a hostile peer may send.
func FuzzDecodeLoads(f *testing.F) {
	ends := inproc.New(2)
	x, err := New(ends[0], Config{Placement: Hosted([]int{2, 1}), Dim: 4, MaxRows: 100, Allocates: true})
	require.NoError(f, err)
	peer, err := New(ends[1], Config{Placement: Hosted([]int{2, 1}), Dim: 4, MaxRows: 100, Allocates: true})
	require.NoError(f, err)
	f.Cleanup(func() {
		for _, end := range ends {
			end.Close()
		}
	})
	x.counted, peer.counted = 60, 60
	own := Counts{Tokens: 9, Leaves: 2, Rows: []int{1, 2, 3, 0, 0, 4}}
	f.Add(peer.encodeLoads(own, 1<<50, crossings{}))
	f.Add(peer.encodeLoads(Counts{Rows: []int{}}, 0, crossings{}))
	f.Add(peer.encodeLoads(Counts{Tokens: refused, Rows: []int{}}, 0, crossings{}))
	f.Fuzz(func(t *testing.T, words []byte) {
		x.round.begin()
		peer.round.begin()
		var loads, same Loads
		mine := x.encodeLoads(own, 7, crossings{})
		got, err := x.decodeLoads([][]byte{mine, words}, &loads)
		if err != nil {
			require.EqualValues(t, 1, transport.CulpritOf(err))
			return
		}
		require.LessOrEqual(t, len(loads.Rows), 60)
		require.Len(t, loads.Rows, 3*loads.TotalLeaves())
		c := Counts{Tokens: got[1].tokens, Padding: got[1].padding, Leaves: got[1].leaves}
		for e := range 3 {
			for l := range c.Leaves {
				c.Rows = append(c.Rows, int(loads.Rows[e*loads.TotalLeaves()+2+l]))
			}
		}
		require.LessOrEqual(t, int64(got[1].leaving), loads.Of(0, 2, loads.TotalLeaves())+loads.Of(1, 2, loads.TotalLeaves()))
		_, err = x.decodeLoads([][]byte{mine, peer.encodeLoads(c, loads.RowTime[1], got[1].crossings)}, &same)
		require.NoError(t, err)
		require.Equal(t, loads, same)
	})
}
