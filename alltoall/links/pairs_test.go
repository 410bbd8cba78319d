package links

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/shaped"
)

func TestPartnersMeetOnce(t *testing.T) {
	for n := 1; n < 20; n++ {
		met := map[[2]int]int{}
		for round := range pairRounds(n) {
			for r := range n {
				peer := partner(n, round, r)
				if peer < 0 {
					continue
				}
				require.NotEqual(t, r, peer)
				require.Equal(t, r, partner(n, round, peer), "%d ranks, round %d", n, round)
				met[[2]int{r, peer}]++
			}
		}
		require.Len(t, met, n*(n-1))
		for pair, times := range met {
			require.Equal(t, 1, times, "%d ranks, %v", n, pair)
		}
	}
}

// TestMeasurePairsFindsSlowAndFast behind shaped networks: ranks 0 and 2, and 1 and 3, have fast
// network cards between them.
func TestMeasurePairsFindsSlowAndFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make([]Pairs, 5)
		var wg sync.WaitGroup
		for r, tr := range inproc.New(5) {
			s := shaped.New(tr, shaped.Config{Bandwidth: 125e6, Latency: 100 * time.Microsecond,
				Link: func(p transport.Rank) bool { return int(p)%2 != r%2 || p == 4 || r == 4 }})
			wg.Go(func() {
				var err error
				got[r], err = MeasurePairs(context.Background(), s)
				require.NoError(t, err)
				require.NoError(t, s.Close())
			})
		}
		wg.Wait()
		for _, p := range got {
			require.Equal(t, got[0], p)
		}
		p := got[0]
		require.InDelta(t, 8, p[0][1].Beta, 0.01)
		require.InDelta(t, 100*time.Microsecond, p[3][0].Alpha, float64(time.Microsecond))
		require.Less(t, p.Cost(1 << 20)[1][3], 1e4, "no time passes in the bubble")
		require.InEpsilon(t, 8<<20, p.Cost(1 << 20)[2][3], 0.02)
		require.Equal(t, []int{0, 1, 0, 1, 2}, p.Topology(1<<20, 2).Node)
		require.Equal(t, []int{0, 0, 0, 0, 0}, p.Topology(1<<20, 1e9).Node)
	})
}
