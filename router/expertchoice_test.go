package router

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// expertGolden is a case of "expert_choice".
type expertGolden struct {
	Name             string
	Tokens, Experts  int
	Capacity         int
	Options          struct{ Score string }
	Logits           []float32
	Routed, Upstream [][]float64
	Gradient         []float64 `json:"grad_logits_from_weights"`
}

func TestExpertChoiceGoldens(t *testing.T) {
	seen := 0
	for _, c := range goldens[expertGolden](t, "router.json") {
		if c.Name != "expert_choice" {
			continue
		}
		seen++
		config := ExpertChoice{CapacityFactor: float64(c.Capacity*c.Experts) / float64(c.Tokens)}
		if c.Options.Score == "sigmoid" {
			config.Score = Sigmoid
		}
		require.Equal(t, c.Capacity, config.Bound(c.Tokens, c.Experts, true))
		logits := make([][]float64, c.Tokens)
		for i, v := range c.Logits {
			logits[i/c.Experts] = append(logits[i/c.Experts], float64(v))
		}
		for _, over := range []Scope{EachGroup, WholeBatch} {
			config.Over = over
			c.check(t, gateWith(t, config, logits))
		}
	}
	require.NotZero(t, seen)
}

func (c expertGolden) check(t *testing.T, g Gate) {
	d, err := g.Route(identity(c.Tokens), Batch{Ends: []int{c.Tokens}, Train: true})
	require.NoError(t, err)
	require.NoError(t, d.Validate())
	require.Len(t, d.Token, len(c.Routed))
	for _, r := range c.Routed {
		i := find(d, int(r[0]), int(r[1]))
		require.GreaterOrEqual(t, i, 0, "%v", r)
		require.InDelta(t, r[2], float64(d.Weight[i]), 1e-6*r[2])
	}
	grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{1}, DX: identity(c.Tokens)}
	for _, u := range c.Upstream {
		grad.Weights[find(d, int(u[0]), int(u[1]))] = float32(u[2])
	}
	require.NoError(t, g.Backward(d, identity(c.Tokens), grad))
	got := g.Params().Grad.Total()
	for i, want := range c.Gradient {
		require.InDelta(t, want, float64(got[i]), 1e-6)
	}
}

// slowChoice is the rule in the open: every expert sorts the real tokens of rows [begin, end) by
// score, then by row.
func slowChoice(logits [][]float64, padding []bool, begin, end int, sigmoid bool, k func(n int) int) [][]int {
	var real []int
	for t := begin; t < end; t++ {
		if padding == nil || !padding[t] {
			real = append(real, t)
		}
	}
	chosen := make([][]int, len(logits[0]))
	for e := range chosen {
		order := slices.Clone(real)
		slices.SortStableFunc(order, func(a, b int) int {
			return cmp.Compare(slowScore(logits[b], sigmoid, e), slowScore(logits[a], sigmoid, e))
		})
		chosen[e] = order[:min(k(len(real)), len(real))]
		slices.Sort(chosen[e])
	}
	return chosen
}

// slowScore is the score in float64.
func slowScore(logits []float64, sigmoid bool, e int) float64 {
	if sigmoid {
		return 1 / (1 + math.Exp(-logits[e]))
	}
	total := 0.0
	for _, v := range logits {
		total += math.Exp(v)
	}
	return math.Exp(logits[e]) / total
}

// TestExpertChoiceReference compares choices and weights with the slow rule, and gradients with
// differences of it.
func TestExpertChoiceReference(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const tokens, experts = 21, 5
	ends := []int{6, 6, 7, tokens}
	for _, score := range []Score{SoftmaxAfter, SoftmaxBefore, Sigmoid} {
		for _, padded := range []bool{false, true} {
			config := ExpertChoice{CapacityFactor: []float64{0, 1, 0.3, 7}[r.IntN(4)], MinCapacity: r.IntN(3), Score: score}
			b := Batch{Ends: ends, Train: true}
			for range tokens {
				if padded {
					b.Padding = append(b.Padding, r.IntN(3) == 0)
				}
			}
			logits := randomLogits(r, tokens, experts)
			g := gateWith(t, config, logits)
			d, err := g.Route(identity(tokens), b)
			require.NoError(t, err)
			require.NoError(t, d.Validate())
			begin, total := 0, 0
			for _, end := range ends {
				chosen := slowChoice(logits, b.Padding, begin, end, score == Sigmoid, func(n int) int { return config.Bound(n, experts, true) })
				for e, list := range chosen {
					total += len(list)
					for _, token := range list {
						i := find(d, token, e)
						require.GreaterOrEqual(t, i, 0, "token %d, expert %d", token, e)
						require.InDelta(t, slowScore(logits[token], score == Sigmoid, e), float64(d.Weight[i]), 1e-6)
					}
				}
				begin = end
			}
			require.Len(t, d.Token, total)
			compareChoiceGradient(t, r, g, d, logits, score == Sigmoid)
		}
	}
}

// compareChoiceGradient holds the gradient of Σ upstream·weight in the logits against central
// differences in float64.
func compareChoiceGradient(t *testing.T, r *rand.Rand, g Gate, d *Decision, logits [][]float64, sigmoid bool) {
	grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: make([]float32, len(d.GroupLoss)), DX: identity(len(logits))}
	for i := range grad.Weights {
		grad.Weights[i] = float32(r.NormFloat64())
	}
	loss := func() float64 {
		s := 0.0
		for e := range d.Experts {
			begin, end := d.Of(ExpertID(e))
			for i := begin; i < end; i++ {
				s += float64(grad.Weights[i]) * slowScore(logits[d.Token[i]], sigmoid, e)
			}
		}
		return s
	}
	want := make([]float64, 0, len(logits)*len(logits[0]))
	const step = 1e-5
	for _, line := range logits {
		for e := range line {
			line[e] += step
			above := loss()
			line[e] -= 2 * step
			want = append(want, (above-loss())/(2*step))
			line[e] += step
		}
	}
	require.NoError(t, g.Backward(d, identity(len(logits)), grad))
	for i, got := range g.Params().Grad.Total() {
		require.InDelta(t, want[i], float64(got), 1e-6, "logit %d", i)
	}
	g.Params().Grad.Reset()
}

func TestExpertChoiceFaults(t *testing.T) {
	_, err := ExpertChoice{CapacityFactor: math.NaN(), MinCapacity: -1, Score: SqrtSoftplus, Over: 7, Entropy: -1}.New(Shape{})
	for _, text := range []string{"tokens of 0 columns", "0 experts", "capacity factor is NaN", "MinCapacity is -1", "score is", "unknown scope 7", "Entropy is -1"} {
		require.ErrorContains(t, err, text)
	}
	_, err = ExpertChoice{Cap: 1, Over: WholeBatch}.New(Shape{Dim: 1, Experts: 1})
	require.ErrorContains(t, err, "Cap is 1, less than the capacity factor 2")
	require.ErrorContains(t, err, "Cap goes with the scope each group")
	_, err = ExpertChoice{Entropy: 0.1}.New(Shape{Dim: 1, Experts: 1})
	require.ErrorContains(t, err, "Entropy goes with Cap")
	require.Equal(t, "whole batch", WholeBatch.String())
}

// TestExpertChoiceAllocatesNothing in the steady state.
func TestExpertChoiceAllocatesNothing(t *testing.T) {
	const tokens = 64
	logits := randomLogits(rand.New(rand.NewPCG(1, 2)), tokens, 8)
	x, b := identity(tokens), Batch{Ends: []int{32, tokens}, Train: true}
	for _, over := range []Scope{EachGroup, WholeBatch} {
		g := gateWith(t, ExpertChoice{Over: over}, logits)
		grad := Gradient{LossScale: make([]float32, 2), DX: identity(tokens)}
		pass := func() {
			d, err := g.Route(x, b)
			require.NoError(t, err)
			grad.Weights = mat.Reuse(grad.Weights, len(d.Weight))
			require.NoError(t, g.Backward(d, x, grad))
			g.Params().Grad.Reset()
		}
		require.Zero(t, alloctest.Least(60, pass), "%v", over)
	}
}
