package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/neartest"
)

// noisyLosses are all that a noisy gate may have.
func noisyLosses() []Loss { return append(allLosses(), LoadLoss(0.875)) }

// slowLoad is the load loss of the tokens [begin, end) in float64.
func slowLoad(clean, deviation, noisy [][]float64, k, begin, end int) float64 {
	loads := make([]float64, len(clean[0]))
	for t := begin; t < end; t++ {
		order := descending(noisy[t])
		for rank, e := range order {
			if k == len(order) {
				loads[e]++
				continue
			}
			rival := order[k-1]
			if rank < k {
				rival = order[k]
			}
			z := (clean[t][e] - noisy[t][rival]) / deviation[t][e]
			loads[e] += (1 + math.Erf(z/math.Sqrt2)) / 2
		}
	}
	return squaredVariation(loads)
}

// noisyCase is a noisy gate's pass in float64, as a function of what its matrices give.
type noisyCase struct {
	*reference
	raw, draws [][]float64 // of the noise matrix; the normal numbers
	fixed      float64     // deviation, if it is not learned
	upstream   [][]float64
	scale      []float32
}

// total is what the gradient is of.
func (c *noisyCase) total(clean [][]float64) float64 {
	deviation, noisy := make([][]float64, len(clean)), make([][]float64, len(clean))
	for t := range clean {
		for e, v := range clean[t] {
			d := c.fixed
			if d == 0 {
				d = math.Log1p(math.Exp(c.raw[t][e])) + leastDeviation
			}
			deviation[t], noisy[t] = append(deviation[t], d), append(noisy[t], v+d*c.draws[t][e])
		}
	}
	losses := c.Losses
	c.Losses = allLosses()
	total := c.reference.total(noisy, c.upstream, c.scale)
	c.Losses = losses
	begin := 0
	for g, end := range c.ends {
		if begin < end {
			total += float64(c.scale[g]) * coefficient(losses, "load") * slowLoad(clean, deviation, noisy, c.K, begin, end)
		}
		begin = end
	}
	return total
}

// TestNoisyReference compares gradients of both matrices, through weights and all losses, with
// differences of a float64 reference that is given the same draws.
func TestNoisyReference(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, noise := range []Noise{LearnedGaussian, FixedGaussian} {
		for score := range Score(scores) {
			for _, k := range []int{1, 2, 6} {
				t.Run(fmt.Sprintf("%v/%v/k=%d", noise, score, k), func(t *testing.T) {
					config := NoisyTopK{TopK: TopK{K: k, Score: score, Scale: 1, Losses: noisyLosses()}, Noise: noise}
					if noise == FixedGaussian {
						config.Amount = 0.5
					}
					checkNoisy(t, r, config)
				})
			}
		}
	}
}

func checkNoisy(t *testing.T, r *rand.Rand, config NoisyTopK) {
	const tokens, experts = 11, 6
	clean, raw := randomLogits(r, tokens, experts), randomLogits(r, tokens, experts)
	g := gateWith(t, config, append(clean, raw...)[:tokens])
	if config.Noise == LearnedGaussian {
		set(g.Params().Value[tokens*experts:], raw)
	}
	c := &noisyCase{reference: &reference{TopK: config.TopK, experts: experts, ends: []int{4, 4, tokens}}, raw: raw, fixed: float64(config.Amount)}
	d, err := g.Route(identity(tokens), Batch{Ends: c.ends, Train: true})
	require.NoError(t, err)
	memory := d.Saved.(*choices)
	noisy := rowsOf(&memory.logits)
	for i, row := range clean {
		c.draws = append(c.draws, nil)
		for e, v := range row {
			deviation := c.fixed
			if deviation == 0 {
				deviation = math.Log1p(math.Exp(raw[i][e])) + leastDeviation
			}
			c.draws[i] = append(c.draws[i], (noisy[i][e]-v)/deviation)
		}
	}
	c.decide(noisy)
	grad := Gradient{LossScale: []float32{0.75, 1, 1.5}, DX: identity(tokens), Weights: make([]float32, len(d.Weight))}
	for token := range tokens {
		c.upstream = append(c.upstream, make([]float64, config.K))
		for j, e := range c.chosen[token] {
			i := find(d, token, e)
			require.GreaterOrEqual(t, i, 0)
			grad.Weights[i] = float32(r.NormFloat64())
			c.upstream[token][j] = float64(grad.Weights[i])
		}
	}
	c.scale = grad.LossScale
	require.NoError(t, g.Backward(d, identity(tokens), grad))
	got := g.Params().Grad.Total()
	compareDifferences(t, "logit", clean, got, func() float64 { return c.total(clean) })
	if config.Noise == LearnedGaussian {
		compareDifferences(t, "deviation", raw, got[tokens*experts:], func() float64 { return c.total(clean) })
	}
}

// set writes rows to a matrix.
func set(dst []float32, rows [][]float64) {
	for i, row := range rows {
		for e, v := range row {
			dst[i*len(row)+e] = float32(v)
		}
	}
}

func rowsOf(g *grid) (rows [][]float64) {
	for i := range len(g.data) / g.cols {
		rows = append(rows, nil)
		for _, v := range g.row(i) {
			rows[i] = append(rows[i], float64(v))
		}
	}
	return rows
}

// compareDifferences compares got with central differences of f in each of value.
func compareDifferences(t *testing.T, what string, value [][]float64, got []float32, f func() float64) {
	const step = 1e-6 // so small that hardly any crosses a kink of the load loss
	for i, row := range value {
		for e, v := range row {
			row[e] = v + step
			above := f()
			row[e] = v - step
			below := f()
			row[e] = v
			want := (above - below) / (2 * step)
			neartest.Number(t, want, float64(got[i*len(row)+e]), 2e-5*(1+math.Abs(want)), "%s %d of token %d", what, e, i)
		}
	}
}

// TestNoNoise expects a noisy gate in evaluation to decide as the plain one.
func TestNoNoise(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	logits := randomLogits(rand.New(rand.NewPCG(seed, 0)), 20, 6)
	plain := TopK{K: 2, Losses: allLosses()}
	want, err := gateWith(t, plain, logits).Route(identity(20), Batch{Ends: []int{20}})
	require.NoError(t, err)
	for noise := range Noise(noises) {
		config := NoisyTopK{TopK: plain, Noise: noise, Amount: 0.9}
		if noise == LearnedGaussian {
			config.Amount = 0
		}
		g := gateWith(t, config, logits)
		got, err := g.Route(identity(20), Batch{Ends: []int{20}})
		require.NoError(t, err)
		require.Equal(t, want.Assignment, got.Assignment, "%v", noise)
		require.Equal(t, want.GroupLoss, got.GroupLoss)
		trained, err := g.Route(identity(20), Batch{Ends: []int{20}, Train: true})
		require.NoError(t, err)
		require.NotEqual(t, want.Assignment, trained.Assignment, "%v", noise)
	}
}

// TestNoiseIsWhereItShouldBe expects the same noise in a pass run again, other noise in the next
// step, with another seed and in another row, and the same in a token group wherever in the batch
// it stands.
func TestNoiseIsWhereItShouldBe(t *testing.T) {
	config := NoisyTopK{TopK: TopK{K: 1, Score: SoftmaxBefore}, Noise: FixedGaussian, Amount: 1}
	route := func(seed uint64, b Batch) []float32 {
		g, err := config.New(Shape{Dim: 2, Experts: 1000, Seed: seed})
		require.NoError(t, err)
		clear(g.Params().Value)
		x := identity(2)
		x.Rows, x.Stride, x.Data = b.Ends[len(b.Ends)-1], 2, []float32{1, -1, 1, -1, 1, -1}
		d, err := g.Route(x, b)
		require.NoError(t, err)
		return d.Saved.(*choices).logits.data
	}
	base := route(1, Batch{Ends: []int{2}, Train: true})
	require.Equal(t, base, route(1, Batch{Ends: []int{2}, Train: true}))
	require.NotEqual(t, base[:1000], base[1000:], "two rows of one token")
	require.NotEqual(t, base, route(1, Batch{Ends: []int{2}, Train: true, Step: 1}))
	require.NotEqual(t, base, route(2, Batch{Ends: []int{2}, Train: true}))
	require.Equal(t, base, route(1, Batch{Ends: []int{1, 3}, Train: true})[1000:], "a group that stands elsewhere")

	mean, square := 0.0, 0.0
	for _, v := range base {
		mean, square = mean+float64(v)/2000, square+float64(v)*float64(v)/2000
	}
	require.InDelta(t, 0, mean, 0.12)
	require.InDelta(t, 1, square, 0.2)
}

// TestUniformNoiseFillsItsRange: it is from -Amount to Amount for each expert, and 0 on average.
func TestUniformNoiseFillsItsRange(t *testing.T) {
	const experts, amount = 999, 0.5 // odd: numbers are drawn in pairs
	config := NoisyTopK{TopK: TopK{K: 1, Score: SoftmaxBefore}, Noise: JitterLogits, Amount: amount}
	logits := [][]float64{make([]float64, experts), make([]float64, experts)}
	d, err := gateWith(t, config, logits).Route(identity(2), Batch{Ends: []int{2}, Train: true})
	require.NoError(t, err)
	var sums, low, high [2]float64 // of even and odd experts
	for i, v := range d.Saved.(*choices).logits.data {
		at := i % experts % 2
		sums[at] += float64(v)
		low[at], high[at] = min(low[at], float64(v)), max(high[at], float64(v))
	}
	for at := range sums {
		require.InDelta(t, 0, sums[at]/experts, 0.1*amount)
		require.InDelta(t, -amount, low[at], 0.05*amount)
		require.InDelta(t, amount, high[at], 0.05*amount)
		require.True(t, low[at] >= -amount && high[at] <= amount)
	}
}

// TestGumbelDrawsInProportion expects experts to be chosen as often as their softmax says.
func TestGumbelDrawsInProportion(t *testing.T) {
	draws := draws()
	logits := [][]float64{{0, math.Log(2), math.Log(5)}}
	g := gateWith(t, NoisyTopK{TopK: TopK{K: 1, Score: SoftmaxBefore}, Noise: Gumbel, Amount: 1}, logits)
	counts := make([]float64, 3)
	for step := range draws {
		d, err := g.Route(identity(1), Batch{Ends: []int{1}, Train: true, Step: step})
		require.NoError(t, err)
		for e, n := range d.Counts {
			if counts[e] += float64(n); n == 1 {
				require.InDelta(t, []float64{0.125, 0.25, 0.625}[e], float64(d.Weight[0]), 1e-6, "weights know no noise")
			}
		}
		require.NoError(t, g.Backward(d, identity(1), Gradient{Weights: []float32{0}, LossScale: []float32{1}, DX: identity(1)}))
		g.Params().Grad.Reset()
	}
	for e, p := range []float64{0.125, 0.25, 0.625} {
		require.InDelta(t, p, counts[e]/float64(draws), 6*math.Sqrt(p*(1-p)/float64(draws)))
	}
}

// TestLoadWithoutNoise expects the loss of the counts, and no gradient.
func TestLoadWithoutNoise(t *testing.T) {
	g := gateWith(t, NoisyTopK{TopK: TopK{K: 1, Losses: []Loss{LoadLoss(1)}}}, [][]float64{{1, 0}, {2, 0}, {3, 0}, {0, 1}})
	d, err := g.Route(identity(4), Batch{Ends: []int{4}})
	require.NoError(t, err)
	require.InDelta(t, 0.25, d.GroupLoss[0], 1e-12) // loads 3 and 1
	require.NoError(t, g.Backward(d, identity(4), Gradient{Weights: make([]float32, 4), LossScale: []float32{1}, DX: identity(4)}))
	require.Equal(t, make([]float32, 16), g.Params().Grad.Total())
}

func TestNoiseFaults(t *testing.T) {
	for says, config := range map[string]Router{
		"unknown noise 7":             NoisyTopK{TopK: TopK{K: 1}, Noise: 7},
		"amount of noise is -1":       NoisyTopK{TopK: TopK{K: 1}, Noise: Gumbel, Amount: -1},
		"no amount to be set":         NoisyTopK{TopK: TopK{K: 1}, Amount: 1},
		`"load" goes with NoisyTopK`:  TopK{K: 1, Losses: []Loss{LoadLoss(1)}},
		"jitter is 2":                 Switch{Jitter: 2},
		"QuantileBalanced: rate is 2": QuantileBalanced{TopK: TopK{K: 1}, Rate: 2},
		"not by BiasRate":             QuantileBalanced{TopK: TopK{K: 1, BiasRate: 1}},
		"bias rate is -1":             TopK{K: 1, BiasRate: -1},
	} {
		_, err := config.New(Shape{Dim: 2, Experts: 4})
		require.ErrorContains(t, err, says)
	}
}
