package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

// identity returns the n unit vectors: with them for tokens, a linear gate's matrix is the logits,
// and the gradient of the one is that of the other.
func identity(n int) blas32.General {
	m := blas32.General{Rows: n, Cols: n, Stride: n, Data: make([]float32, n*n)}
	for i := range n {
		m.Data[i*n+i] = 1
	}
	return m
}

// gateWith returns a gate that gives each unit vector the logits of its row.
func gateWith(t testing.TB, r Router, logits [][]float64) Gate {
	g, err := r.New(Shape{Dim: len(logits), Experts: len(logits[0])})
	require.NoError(t, err)
	value := g.Params().Value[:0]
	for _, row := range logits {
		for _, v := range row {
			value = append(value, float32(v))
		}
	}
	return g
}

// randomLogits returns float32 values, so that the gate and the reference start from the same
// numbers.
func randomLogits(r *rand.Rand, tokens, experts int) [][]float64 {
	logits := make([][]float64, tokens)
	for t := range logits {
		for range experts {
			logits[t] = append(logits[t], float64(float32(2*r.NormFloat64())))
		}
	}
	return logits
}

// TestReference compares decisions, losses and gradients of every mode with the reference; its
// gradients are central differences.
func TestReference(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	factors := []float64{0, 0.7, 1.25}
	if testing.Short() {
		factors = factors[1:2]
	}
	for score := range Score(scores) {
		for renorm := range Renormalize(renormalizes) {
			for drop := range AtRandom { // what is drawn has no reference
				for _, factor := range factors {
					for _, k := range []int{1, 2, 5, 6} {
						config := TopK{
							K: k, Score: score, Renormalize: renorm, Drop: drop, CapacityFactor: factor, Scale: 1.5,
							Losses: allLosses(),
						}
						t.Run(fmt.Sprintf("%v/%v/%v/factor=%v/k=%d", score, renorm, drop, factor, k), func(t *testing.T) {
							checkReference(t, r, config)
						})
					}
				}
			}
		}
	}
}

// allLosses returns every loss that goes with any gate, each with a coefficient of its own.
func allLosses() []Loss {
	return []Loss{
		Balance(0.5), ZLoss(0.125), SwitchLoss(0.25), GlobalBalance(0.375), ImportanceLoss(0.75), SequenceBalance(0.625, sequenceLength),
	}
}

func checkReference(t *testing.T, rand *rand.Rand, config TopK) {
	checkRouter(t, rand, config, &reference{TopK: config})
}

// checkRouter compares a router with a reference for 6 experts.
func checkRouter(t *testing.T, rand *rand.Rand, config Router, ref *reference) {
	const experts, tokens = 6, 17
	ref.experts, ref.ends = experts, []int{4, 4, 17}
	logits := randomLogits(rand, tokens, experts)
	ref.decide(logits)
	g := gateWith(t, config, logits)
	d, err := g.Route(identity(tokens), Batch{Ends: ref.ends, Train: true})
	require.NoError(t, err)
	require.NoError(t, d.Validate())

	upstream := make([][]float64, tokens)
	grad := Gradient{LossScale: []float32{0.75, 1, 1.5}, DX: identity(tokens), Weights: make([]float32, len(d.Weight))}
	for i := range upstream {
		upstream[i] = make([]float64, ref.K)
	}
	entries := 0
	for token := range tokens {
		want := ref.final(logits[token], token)
		for j, e := range ref.chosen[token] {
			i := find(d, token, e)
			require.Equal(t, ref.kept[token][j], i >= 0, "token %d, expert %d", token, e)
			if i < 0 {
				continue
			}
			entries++
			require.InDelta(t, want[j], float64(d.Weight[i]), 1e-6*want[j]+1e-7)
			grad.Weights[i] = float32(rand.NormFloat64())
			upstream[token][j] = float64(grad.Weights[i])
		}
	}
	require.Len(t, d.Token, entries)
	require.Equal(t, tokens*ref.K-entries, d.Dropped)
	compareLosses(t, ref, d, logits)
	require.NoError(t, g.Backward(d, identity(tokens), grad))
	compareGradients(t, ref, logits, upstream, grad.LossScale, g.Params().Grad.Total())
}

// find returns the entry of a token and an expert, or -1.
func find(d *Decision, token, expert int) int {
	begin, end := d.Of(ExpertID(expert))
	for i := begin; i < end; i++ {
		if int(d.Token[i]) == token {
			return i
		}
	}
	return -1
}

func compareLosses(t *testing.T, ref *reference, d *Decision, logits [][]float64) {
	begin, mean := 0, map[string]float64{}
	for g, end := range ref.ends {
		want := 0.0
		if begin < end {
			for name, v := range ref.groupLoss(logits, begin, end) {
				v *= coefficient(ref.Losses, name)
				want += v
				mean[name] += v * float64(end-begin) / float64(len(logits))
			}
		}
		require.InDelta(t, want, d.GroupLoss[g], 1e-6*want, "group %d", g)
		begin = end
	}
	require.InDeltaMapValues(t, mean, d.Losses, 1e-6)
}

func coefficient(losses []Loss, name string) float64 {
	for _, l := range losses {
		if l.name == name {
			return l.coefficient
		}
	}
	return 0
}

func compareGradients(t *testing.T, ref *reference, logits, upstream [][]float64, scale, got []float32) {
	const step = 1e-6 // small, since a choice or a maximum of the losses may change within it
	for token, row := range logits {
		largest := 1.0 // of the terms that got sums up in float32, whose sum may be far smaller
		for _, u := range upstream[token] {
			largest = max(largest, float64(ref.Scale)*math.Abs(u))
		}
		for e, v := range row {
			if testing.Short() && (token*len(row)+e)%5 != 0 {
				continue
			}
			row[e] = v + step
			above := ref.total(logits, upstream, scale)
			row[e] = v - step
			below := ref.total(logits, upstream, scale)
			row[e] = v
			want := (above - below) / (2 * step)
			require.InDelta(t, want, float64(got[token*len(row)+e]), 1e-6*(largest+math.Abs(want)), "token %d, logit %d", token, e)
		}
	}
}

// TestTies expects equal logits to go to the lowest experts, and equal weights to be kept by the
// lowest tokens.
func TestTies(t *testing.T) {
	logits := [][]float64{{1, 2, 2, 2}, {0, 0, 0, 0}, {3, 1, 3, 1}, {2, 2, 2, 2}}
	g := gateWith(t, TopK{K: 2, CapacityFactor: 1, Drop: ByProbability}, logits)
	d, err := g.Route(identity(4), Batch{Ends: []int{4}, Train: true})
	require.NoError(t, err)
	require.Equal(t, []int{3, 3, 2, 0}, d.Counts)
	require.Equal(t, []int32{1, 2, 0, 1, 0, 2}, d.Token, "experts 0 and 1 have lost token 3")
	require.Equal(t, []float32{.5, .5, .5, .5, .5, .5}, d.Weight)
}

// TestBias expects a bias to change who is chosen, and nothing else.
func TestBias(t *testing.T) {
	logits := [][]float64{{1, 0, -1}}
	g := gateWith(t, TopK{K: 1, Score: Sigmoid, Bias: []float32{0, 0, 0.5}}, logits)
	d, err := g.Route(identity(1), Batch{Ends: []int{1}, Train: true})
	require.NoError(t, err)
	require.Equal(t, []int{0, 0, 1}, d.Counts)
	require.InDelta(t, 1/(1+math.E), float64(d.Weight[0]), 1e-7)
}

// TestSaturated routes logits whose scores are all rounded to 0 or to 1: they are told apart, and
// stay finite.
func TestSaturated(t *testing.T) {
	for score := range Score(scores) {
		for renorm := range Renormalize(renormalizes) {
			logits := [][]float64{{-300, -200, -100, -250}, {300, 200, 100, 250}, {-3e38, 3e38, 0, 1}}
			g := gateWith(t, TopK{K: 2, Score: score, Renormalize: renorm, CapacityFactor: 1, Losses: []Loss{Balance(1), ZLoss(1e-6)}}, logits)
			d, err := g.Route(identity(3), Batch{Ends: []int{3}, Train: true})
			require.NoError(t, err)
			require.Equal(t, []int{1, 2, 1, 2}, d.Counts)
			require.Equal(t, -1, firstInfinite(d.Weight), "%v, %v: %v", score, renorm, d.Weight)
			grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{1e-30}, DX: identity(3)}
			for i := range grad.Weights {
				grad.Weights[i] = 1
			}
			require.NoError(t, g.Backward(d, identity(3), grad))
			require.Equal(t, -1, firstInfinite(g.Params().Grad.Total()), "%v, %v", score, renorm)
		}
	}
}

func TestFaultsAreReportedTogether(t *testing.T) {
	_, err := TopK{
		K: 5, Score: 9, Renormalize: -1, Drop: 7, Scale: -1, CapacityFactor: math.NaN(), Bias: make([]float32, 3),
		Losses: []Loss{{}, ZLoss(-1), Balance(1), Balance(1)},
	}.New(Shape{Dim: 0, Experts: 4})
	for _, says := range []string{
		"0 columns", "K is 5, want 1 to the 4 experts", "score 9", "renormalisation -1", "drop rule 7", "scale is -1",
		"capacity factor is NaN", "bias of 3 experts for 4", "loss 0", `"z" has coefficient -1`, `"balance" stands twice`,
	} {
		require.ErrorContains(t, err, says)
	}
	for _, k := range []int{0, -1} {
		_, err := TopK{K: k}.New(Shape{Dim: 2, Experts: 4})
		require.ErrorContains(t, err, fmt.Sprintf("K is %d", k))
	}
	_, err = TopK{K: 1}.New(Shape{Dim: 2})
	require.ErrorContains(t, err, "0 experts")
}

// TestBordersOfSettings: the largest jitter is allowed; a bias must have a finite number for each
// expert, the first one too.
func TestBordersOfSettings(t *testing.T) {
	shape := Shape{Dim: 2, Experts: 3}
	nan := float32(math.NaN())
	for _, good := range []Router{
		Switch{Jitter: 1}, TopK{K: 1, Score: Sigmoid, Bias: []float32{1, 2, 3}},
		QuantileBalanced{TopK: TopK{K: 1, Score: Sigmoid, Bias: []float32{1, 2, 3}}, Rate: 1},
	} {
		_, err := good.New(shape)
		require.NoError(t, err, "%+v", good)
	}
	for says, bad := range map[string]Router{
		"jitter is 1.5":                                    Switch{Jitter: 1.5},
		"TopK: bias is not finite at expert 0":             TopK{K: 1, Score: Sigmoid, Bias: []float32{nan, 0, 0}},
		"QuantileBalanced: bias is not finite at expert 0": QuantileBalanced{TopK: TopK{K: 1, Score: Sigmoid, Bias: []float32{nan, 0, 0}}},
		"QuantileBalanced: bias of 2 experts for 3":        QuantileBalanced{TopK: TopK{K: 1, Score: Sigmoid, Bias: []float32{0, 0}}},
	} {
		_, err := bad.New(shape)
		require.ErrorContains(t, err, says)
	}
}

// TestFaultsOfShapesBesideOthers: a shape that is wrong is reported beside what else is, and
// nothing is made of it.
func TestFaultsOfShapesBesideOthers(t *testing.T) {
	for says, bad := range map[string]Router{
		"Cosine: ":           Cosine{TopK: TopK{K: 1}, Columns: -1},
		"QuantileBalanced: ": QuantileBalanced{TopK: TopK{K: 1, Score: Sigmoid}, Rate: 2},
		"SideFeatures: ":     SideFeatures{TopK: TopK{K: 1}},
		"Switch: ":           Switch{Jitter: 2},
	} {
		for _, s := range []Shape{{Dim: 1 << 30, Experts: 4}, {Dim: 2, Experts: -1}} {
			_, err := bad.New(s)
			require.ErrorContains(t, err, says)
			require.ErrorContains(t, err, "want 1 to 16777216")
		}
	}
}

func TestMisuse(t *testing.T) {
	g := gateWith(t, TopK{K: 1}, [][]float64{{1, 2}, {3, 4}})
	x := identity(2)
	require.PanicsWithValue(t, "router: groups end at row 1 of 2", func() { _, _ = g.Route(x, Batch{Ends: []int{1}, Train: true}) })
	require.PanicsWithValue(t, "router: group 1 ends at row 0, before its begin at 2", func() { _, _ = g.Route(x, Batch{Ends: []int{2, 0}, Train: true}) })
	require.PanicsWithValue(t, "router: a batch has 3 rows of 3 columns, want 2 columns", func() { _, _ = g.Route(identity(3), Batch{Ends: []int{3}, Train: true}) })

	d, err := g.Route(x, Batch{Ends: []int{2}, Train: true})
	require.NoError(t, err)
	grad := Gradient{Weights: make([]float32, 2), LossScale: make([]float32, 1), DX: identity(2)}
	other := gateWith(t, TopK{K: 1}, [][]float64{{1, 2}, {3, 4}})
	require.PanicsWithValue(t, "router: a decision of another gate", func() { _ = other.Backward(d, x, grad) })
	short := grad
	short.Weights = nil
	require.PanicsWithValue(t, "router: gradient of 0 weights for 2 entries", func() { _ = g.Backward(d, x, short) })
	require.NoError(t, g.Backward(d, x, grad))
	require.PanicsWithValue(t, "router: a decision that the gate has got back", func() { _ = g.Backward(d, x, grad) })
}

// TestCountRowsByGroup: rows of each expert are counted in the token group that their token is in,
// also beside groups without tokens.
func TestCountRowsByGroup(t *testing.T) {
	g := gateWith(t, TopK{K: 1}, [][]float64{{1, 0}, {1, 0}, {0, 1}, {1, 0}, {0, 1}})
	b := Batch{Ends: []int{0, 2, 2, 5}}
	d, err := g.Route(identity(5), b)
	require.NoError(t, err)
	counts := make([]int, 8)
	d.CountRows(counts, b.Ends)
	require.Equal(t, []int{0, 2, 0, 1, 0, 0, 0, 2}, counts)
	require.PanicsWithValue(t, "router: CountRows: 7 counts for 2 experts × 4 groups", func() { d.CountRows(counts[:7], b.Ends) })
}
