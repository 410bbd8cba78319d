package links

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/shaped"
)

// TestMeasureFindsTheLinks behind a shaped network, whose clock is exact: three nodes, one of them
// of one rank.
func TestMeasureFindsTheLinks(t *testing.T) {
	top := alltoall.Topology{Node: []int{0, 0, 1, 1, 2}}
	synctest.Test(t, func(t *testing.T) {
		got := make([]Measured, 5)
		var wg sync.WaitGroup
		for r, tr := range inproc.New(5) {
			s := shaped.New(tr, shaped.Config{Bandwidth: 125e6, Latency: 300 * time.Microsecond,
				Link: func(p transport.Rank) bool { return top.Node[p] != top.Node[r] }})
			wg.Go(func() {
				var err error
				got[r], err = Measure(context.Background(), s, top)
				require.NoError(t, err)
				require.NoError(t, s.Close())
			})
		}
		wg.Wait()
		for _, m := range got {
			require.Equal(t, got[0], m)
		}
		require.InDelta(t, 8, got[0].Between.Beta, 0.01)
		require.InDelta(t, 300*time.Microsecond, got[0].Between.Alpha, float64(time.Microsecond))
		require.InDelta(t, 1, got[0].R2Between, 1e-6)
		require.Less(t, got[0].Within.Alpha, time.Microsecond, "no time passes in the bubble")
	})
}

func TestMeasureAlone(t *testing.T) {
	tr := inproc.New(1)[0]
	m, err := Measure(context.Background(), tr, alltoall.Topology{})
	require.NoError(t, err)
	require.Equal(t, Measured{}, m)
	_, err = Measure(context.Background(), tr, alltoall.Nodes(3, 1))
	require.ErrorContains(t, err, "topology of 3 ranks, want 1")
	require.NoError(t, tr.Close())
}

func TestFitLine(t *testing.T) {
	f := fitLine([]float64{1, 10, 100}, []float64{12, 30, 210})
	require.InDelta(t, 10, f.alpha, 1e-9)
	require.InDelta(t, 2, f.beta, 1e-9)
	require.InDelta(t, 1, f.r2, 1e-9)
	f = fitLine([]float64{1, 10, 100}, []float64{5, 4, 3})
	require.Zero(t, f.beta)
	require.Greater(t, f.alpha, 2.9)
	f = fitLine([]float64{10, 100}, []float64{1, 100})
	require.Zero(t, f.alpha)
}

// TestImpossibleFitsOfAPeerAreRefused, and the error blames the peer.
func TestImpossibleFitsOfAPeerAreRefused(t *testing.T) {
	for _, bad := range []float64{-1, math.NaN(), math.Inf(1)} {
		ts := inproc.New(2)
		ctx := context.Background()
		var words []byte
		for range 6 {
			words = binary.LittleEndian.AppendUint64(words, math.Float64bits(bad))
		}
		done := make(chan error)
		go func() {
			done <- transport.Exchange(ctx, ts[1], []transport.Message{{Peer: 0, Tag: fitsTag, Bufs: [][]byte{words}}},
				[]transport.Message{{Peer: 0, Tag: fitsTag, Bufs: [][]byte{make([]byte, 48)}}})
		}()
		_, err := slowestFits(ctx, ts[0], make([]fit, 2))
		require.ErrorIs(t, err, transport.ErrProtocol)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
		require.NoError(t, <-done)
		for _, tr := range ts {
			require.NoError(t, tr.Close())
		}
	}
}

// TestMeasuredCanBeKept as JSON, and is then the same.
func TestMeasuredCanBeKept(t *testing.T) {
	rounds := Rounds{Ranks: 2, Bytes: [roundSizes]int{1, 2, 3, 4}}
	m := Measured{Links: Links{Within: Link{time.Microsecond, 0.25}, Rounds: rounds}, R2Within: 0.5}
	m.Rounds.Times[alltoall.Rails][2] = time.Second
	text, err := json.Marshal(m)
	require.NoError(t, err)
	var again Measured
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, m, again)
	require.NoError(t, again.Validate())
	again.Rounds.Bytes[0] = 9
	require.ErrorContains(t, again.Validate(), "must ascend")
	for _, beta := range []float64{-1, math.Inf(1), math.NaN()} {
		m.Between.Beta = beta
		require.ErrorContains(t, m.Validate(), "must not be negative, and finite")
	}
}
