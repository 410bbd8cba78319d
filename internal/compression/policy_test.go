package compression

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/lsh"
)

// policyOf is that of four ranks on nodes of two, whose links take the given nanoseconds a byte.
// Each rank counts for itself as if the others had found a quarter of it.
func policyOf(t *testing.T, near, far float64, auto Policy) *policy {
	t.Helper()
	auto.Sum = func(_ context.Context, x []float64) error {
		for i := range x {
			x[i] *= 4
		}
		return nil
	}
	cfg := Config{
		Dim: 1024, Experts: 8, Placement: alltoall.Even(8, 4), Topology: alltoall.Nodes(4, 2), Auto: &auto,
		LSH:   lsh.Config{Compensation: lsh.Interpolate},
		Links: links.Links{Within: links.Link{Beta: near}, Between: links.Link{Beta: far}},
	}
	p, err := newPolicy(t.Context(), &cfg)
	require.NoError(t, err)
	return p
}

// far is what a policy has chosen between nodes.
func far(p *policy) alltoall.Codec { return p.chosen.wire().Legs()[0] }

// TestFormatsByLink: four bits where links are slow, and rows as they are where they are fast.
func TestFormatsByLink(t *testing.T) {
	p := policyOf(t, 1e-6, 1e6, Policy{Budget: 0.1})
	require.Equal(t, alltoall.MXFP4H, far(p), "the fewest bytes")
	require.Equal(t, alltoall.Wire{}.Legs(), p.chosen.wire().Within.Legs())
	require.Regexp(t, `^between nodes: mxfp4-h, 0\.13× the bytes; within a node: float32; \S+ for 1000 rows, in float32 \S+; loses 0\.0\d+ of 0\.1 allowed$`, p.text)
	p = policyOf(t, 1e-6, 1e6, Policy{Budget: 0.005})
	require.Equal(t, alltoall.Float32.String(), p.chosen.wire().Within.Dispatch.(alltoall.Format).String())
	require.Regexp(t, `^between nodes: dispatch \S+, combine \S+, back \S+ and \S+4-h, `, p.text)
	require.LessOrEqual(t, p.chosen.lost, 0.005)
	p = policyOf(t, 1e-6, 1e6, Policy{})
	require.Equal(t, alltoall.BF16, far(p), "loses nothing")
	p = policyOf(t, 1e-6, 1e-6, Policy{Budget: 0.1})
	require.Equal(t, alltoall.Float32, far(p))
	require.Regexp(t, "between nodes: float32; within a node: float32; ", p.text)
}

// TestLinkPrices: a quarter of the rows stays, a quarter goes to the other rank of the node, and
// half over the link that two ranks share.
func TestLinkPrices(t *testing.T) {
	l := links.Links{Within: links.Link{Beta: 1}, Between: links.Link{Beta: 10}}
	got := linkPrices(l, alltoall.Nodes(4, 2), alltoall.Even(8, 4))
	require.InDelta(t, 0.25, got[within].share, 1e-12)
	require.InDelta(t, 0.5, got[between].share, 1e-12)
	require.InDelta(t, 1e-9, got[within].perByte, 1e-18)
	require.InDelta(t, 20e-9, got[between].perByte, 1e-18)
	got = linkPrices(l, alltoall.Topology{}, alltoall.Hosted([]int{0, 6, 2}))
	require.InDelta(t, (8.+2+6)/(8*3), got[within].share, 1e-12, "a rank without experts keeps nothing")
	require.Zero(t, got[between].share)
}

// TestRoundsTellWhatBytesTake where ranks do not share a link, or wait for each other.
func TestRoundsTellWhatBytesTake(t *testing.T) {
	l := links.Links{Between: links.Link{Beta: 10}}
	l.Rounds.Ranks = 4
	l.Rounds.Bytes = [...]int{0, 0, 100_000, 200_000}
	at := func(each time.Duration) float64 { // for 100 000 bytes to each other rank
		l.Rounds.Times[alltoall.Direct] = [...]time.Duration{0, 0, time.Second, time.Second + each}
		return linkPrices(l, alltoall.Nodes(4, 2), alltoall.Even(8, 4))[between].perByte
	}
	require.InDelta(t, 20e-9, at(4*time.Millisecond), 1e-15, "to two ranks over a link of two")
	require.InDelta(t, 10e-9, at(2*time.Millisecond), 1e-15)
	require.InDelta(t, 80e-9, at(time.Hour), 1e-15)
	require.InDelta(t, 20e-9, at(-time.Hour), 1e-15)
	l.Rounds.Ranks = 8
	require.InDelta(t, 20e-9, at(2*time.Millisecond), 1e-15, "of other ranks")
}

// steps has a policy take steps of one pass each, and decide when it is due.
func steps(t *testing.T, p *policy, from, to, rows int, took time.Duration) (decided []int) {
	t.Helper()
	for step := from; step <= to; step++ {
		n := note{rows: rows}
		if n.compressed = p.clusters(); n.compressed || p.probes {
			n.took = took
		}
		p.record(&n)
		if step >= p.next {
			decided = append(decided, step)
			require.NoError(t, p.decide(t.Context(), step, true))
		}
	}
	return decided
}

// TestClustersOfLargeGroups are chosen once their time is known, if the budget allows what they
// lose.
func TestClustersOfLargeGroups(t *testing.T) {
	const rows = 8 * 16384
	auto := Policy{Budget: 0.1, Rates: []float64{0.05, 0.2}, Gradients: alltoall.NVFP4H}
	p := policyOf(t, 1e-6, 1000, auto)
	p.computing.Store(int64(time.Second)) // experts take most of the time
	decided := steps(t, p, 1, 1, rows, 0)
	require.Equal(t, []int{1}, decided)
	require.True(t, p.probes)
	require.False(t, p.clusters(), "before their cost is known")
	require.Equal(t, 0.2, p.rate)
	decided = steps(t, p, 2, 300, rows, time.Millisecond)
	require.Equal(t, []int{2, 4, 8, 16, 32, 64, 128, 256}, decided)
	require.True(t, p.clusters())
	require.Regexp(t, `^clusters, 0.2 of the rows, in \S+, gradients of all rows in nvfp4-h, 0\.\d+× the bytes; \S+ for 131072 rows, `, p.text)
	require.Equal(t, p.chosen.wire().Legs(), p.chosen.wire().Within.Legs())
	steps(t, p, 301, 512, rows, time.Hour)
	require.False(t, p.clusters(), "the true cost is more")
	require.Equal(t, alltoall.MXFP4H, far(p))

	p = policyOf(t, 1e-6, 1000, auto)
	p.computing.Store(int64(time.Second))
	steps(t, p, 1, 4, 800, time.Microsecond)
	require.False(t, p.clusters() || p.probes, "of small groups they lose too much")
}

// TestPriceOfClusters counts centroids on three legs and gradients of all rows on two, or centroids
// on four; and experts compute less.
func TestPriceOfClusters(t *testing.T) {
	p := policyOf(t, 1, 1, Policy{Gradients: alltoall.NVFP4H})
	p.known, p.rows = tally{clustering: 5, computing: 9}, 8*4096
	for i := range p.prices.formats {
		p.prices.formats[i].seconds = 0
	}
	got := p.priceOf(0.1, alltoall.BF16)
	require.InDelta(t, 0.1*3*2048+2*(512+64+4), got.bytes, 1e-9)
	require.InDelta(t, 5-9*(1-0.1-0.3), got.seconds, 1e-9, "a third of all but a tenth stays")
	p.cfg.Auto.Gradients = nil
	all := p.priceOf(0.1, alltoall.BF16)
	require.InDelta(t, 0.1*4*2048, all.bytes, 1e-9)
	require.InDelta(t, 5-9*0.9, all.seconds, 1e-9)
	require.Greater(t, all.lost, got.lost)
	p.rows = 7
	require.InDelta(t, 1, p.priceOf(0.1, alltoall.BF16).lost, 0, "fewer rows than experts")
}

// TestWhatRanksFindCounts until the next decision, as the mean of all.
func TestWhatRanksFindCounts(t *testing.T) {
	p := policyOf(t, 1, 1, Policy{})
	for _, rows := range []int{100, 300} {
		p.record(&note{rows: rows, took: time.Second})
		p.computing.Add(int64(time.Second))
	}
	require.NoError(t, p.agree(t.Context()))
	require.Equal(t, 200, p.rows)
	require.InDelta(t, 2./400, p.known.clustering, 1e-12)
	require.InDelta(t, 2./400, p.known.computing, 1e-12)
	p.record(&note{rows: 50})
	require.NoError(t, p.agree(t.Context()))
	require.Equal(t, 50, p.rows)
	require.InDelta(t, 2./400, p.known.clustering, 1e-12, "is known from before")
	require.InDelta(t, 0, p.known.computing, 1e-12)
}

// TestDecisionsStay unless another choice takes clearly less.
func TestDecisionsStay(t *testing.T) {
	p := &policy{cfg: &Config{Auto: &Policy{}}, prices: prices{budget: 1, formats: []formatPrice{{bytes: 1000}}}}
	p.prices.links[between] = linkPrice{share: 1, perByte: 1}
	at := func(seconds float64) bool {
		p.prices.clusters = []clusterPrice{{rate: 0.2, seconds: seconds}}
		p.choose()
		return p.clusters()
	}
	require.False(t, at(4001))
	require.False(t, at(3700), "not clearly less")
	require.True(t, at(3500))
	require.True(t, at(4300), "not clearly more")
	require.False(t, at(4500))
	require.True(t, at(100))
	p.prices.clusters[0].lost = 2
	p.choose()
	require.False(t, p.clusters(), "too much is lost")
}

// TestGivenFormatsStay, and clusters are chosen or none.
func TestGivenFormatsStay(t *testing.T) {
	p := policyOf(t, 1e-6, 1000, Policy{Budget: 0.2, Rates: []float64{0.1}, Given: true})
	require.Regexp(t, "^each row, in the formats given; ", p.text)
	require.Zero(t, p.chosen.lost)
	p.cfg.LSH.Compensation = lsh.None
	steps(t, p, 1, 2, 8<<20, time.Microsecond)
	require.True(t, p.clusters(), p.text)
	require.Regexp(t, "^clusters, 0.1 of the rows, in the formats given, 0.10× the bytes", p.text)
}

// TestGivenFormatsOfLinks are priced by the link that rows take.
func TestGivenFormatsOfLinks(t *testing.T) {
	p := policyOf(t, 1, 1000, Policy{Budget: 0.2, Given: true})
	float32s := p.chosen.seconds
	p.cfg.Wire.Within = &alltoall.Wire{Dispatch: alltoall.BF16, Combine: alltoall.BF16, DispatchBack: alltoall.BF16, CombineBack: alltoall.BF16}
	p.cfg.Topology, p.cfg.Links.Between = alltoall.Topology{}, p.cfg.Links.Within
	one, err := newPolicy(t.Context(), p.cfg)
	require.NoError(t, err)
	require.Less(t, one.chosen.seconds, float32s)
	require.InEpsilon(t, one.chosen.plain/2, one.chosen.seconds, 1e-9, "all rows stay on the node")
	require.InEpsilon(t, 4*2*1024, one.prices.meanGiven(), 1e-9)
	p.cfg.Topology = alltoall.Nodes(4, 2)
	two, err := newPolicy(t.Context(), p.cfg)
	require.NoError(t, err)
	require.Greater(t, two.chosen.seconds, two.chosen.plain/2)
	require.InEpsilon(t, (4*2*1024+2*4*4*1024)/3., two.prices.meanGiven(), 1e-9, "two of three others are on the other node")
}
