package compression

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// somePrices are random, with few formats so that all ways can be tried.
func somePrices(r *rand.Rand) *prices {
	p := &prices{budget: r.Float64() * 0.3}
	for c := range p.links {
		p.links[c] = linkPrice{share: r.Float64() / 2, perByte: r.ExpFloat64() * 1e-9}
	}
	if r.IntN(4) == 0 {
		p.links[r.IntN(classes)].share = 0
	}
	p.formats = []formatPrice{{format: alltoall.Float32, bytes: 4000}}
	for _, f := range []alltoall.Format{alltoall.BF16, alltoall.FP8, alltoall.NVFP4H}[:r.IntN(4)] {
		price := formatPrice{format: f, bytes: 4000 * r.Float64(), seconds: r.Float64() * 4e-6}
		for leg := range price.lost {
			price.lost[leg] = r.Float64() * 0.1
		}
		p.formats = append(p.formats, price)
	}
	for _, rate := range []float64{0.1, 0.2}[:r.IntN(3)] {
		p.clusters = append(p.clusters, clusterPrice{rate: rate, bytes: 4000 * r.Float64(),
			seconds: (r.Float64() - 0.3) * 4e-6, lost: r.Float64() * 0.4})
	}
	return p
}

// everyWay lists all ways of a class, priced.
func everyWay(p *prices, link linkPrice) (list []priced) {
	n := len(p.formats)
	for i := range n * n * n * n {
		var w priced
		for leg := range 4 {
			w = p.formats[i%n].onLeg(w, leg)
			i /= n
		}
		list = append(list, link.weigh(w))
	}
	return list
}

// TestAChoiceIsTheBestOfAll that the budget allows, which a search over all of them finds.
func TestAChoiceIsTheBestOfAll(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	clusters := 0
	for i := range 60 {
		p := somePrices(r)
		got := p.choose()
		require.LessOrEqual(t, got.lost, p.budget)
		best := math.Inf(1)
		for _, near := range everyWay(p, p.links[within]) {
			for _, far := range everyWay(p, p.links[between]) {
				if near.lost+far.lost <= p.budget {
					best = min(best, near.seconds+far.seconds)
				}
			}
		}
		for _, c := range p.clusters {
			if c.lost <= p.budget {
				clusters++
				best = min(best, c.seconds+c.bytes*p.perByte())
			}
		}
		require.InDelta(t, best, got.seconds, 1e-15, "%d", i)
	}
	require.Greater(t, clusters, 10)
}

// TestAChoiceIsMonotone: a larger budget never takes more time, nor do faster links, and slower
// links never carry more bytes.
func TestAChoiceIsMonotone(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		p := somePrices(r)
		before := p.choose()
		p.budget *= 1.5
		more := p.choose()
		require.LessOrEqual(t, more.seconds, before.seconds)
		for c := range p.links {
			p.links[c].perByte /= 2
		}
		faster := p.choose()
		require.LessOrEqual(t, faster.seconds, more.seconds)
		p = somePrices(r)
		p.links[within].share = 0 // else a slower link takes some of the budget from the other
		before = p.choose()
		p.links[between].perByte *= 3
		require.LessOrEqual(t, bytesOf(p.choose()), bytesOf(before))
	}
}

// TestNothingMayBeLost leaves what loses nothing.
func TestNothingMayBeLost(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		p := somePrices(r)
		p.budget = 0
		got := p.choose()
		require.Zero(t, got.lost)
		require.Equal(t, got.plain, got.seconds)
	}
}

// TestTheBudgetGoesWhereItSavesMost: of two equal losses it takes the one on the slow link.
func TestTheBudgetGoesWhereItSavesMost(t *testing.T) {
	p := &prices{budget: 0.05, formats: []formatPrice{
		{format: alltoall.Float32, bytes: 4000}, {format: alltoall.NVFP4H, bytes: 564, seconds: 1e-6, lost: [4]float64{.025, .025, .025, .025}},
	}}
	p.links[within] = linkPrice{share: 0.5, perByte: 1e-9}
	p.links[between] = linkPrice{share: 0.5, perByte: 1e-8}
	got := p.choose()
	require.Equal(t, [4]alltoall.Format{}, got.of[within].legs)
	require.Equal(t, alltoall.Everywhere(alltoall.NVFP4H).Legs(), formatsOf(got.of[between].legs))
	require.InDelta(t, 0.05, got.lost, 1e-12)
}

// bytesOf is the bytes of a row between nodes.
func bytesOf(c choice) float64 { return c.clusters.bytes + c.of[between].bytes }

func formatsOf(legs [4]alltoall.Format) (list [4]alltoall.Codec) {
	for i, f := range legs {
		list[i] = f
	}
	return list
}
