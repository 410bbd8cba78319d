package router

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

// tinyLogits are rows of logits that lie so low, or so far apart, that float32 loses scores.
func tinyLogits() [][]float64 {
	shapes := [][]float64{{0, 0, 0, 0}, {0, 0, -30, -30}, {0, -1, -2, -4}, {-0.25, 0, -0.5, -90}, {-3, -200, 0, -1}, {0, -70, -100, -150}}
	var rows [][]float64
	for _, base := range []float64{5, 0, -10, -20, -26, -27, -28, -30, -40, -45, -54, -56, -60, -75, -86, -87, -88, -89, -100, -103, -105, -200, -1000, -1e4, -1e6} {
		for _, s := range shapes {
			row := make([]float64, len(s))
			for e, v := range s {
				row[e] = float64(float32(base + v))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// logScore is the logarithm of a score in float64, up to what all experts of a token share.
func logScore(s Score, x float64) float64 {
	softplus := func(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }
	switch s {
	case Sigmoid:
		return -softplus(-x)
	case SqrtSoftplus:
		if x < -40 {
			return x / 2
		}
		return math.Log(softplus(x)) / 2
	}
	return x
}

// sharesOfLogs is the softmax of some of a token's logarithms of scores.
func sharesOfLogs(s Score, logits []float64, of []int32) []float64 {
	shares, top, total := make([]float64, len(of)), math.Inf(-1), 0.0
	for _, e := range of {
		top = max(top, logScore(s, logits[e]))
	}
	for j, e := range of {
		shares[j] = math.Exp(logScore(s, logits[e]) - top)
		total += shares[j]
	}
	for j := range shares {
		shares[j] /= total
	}
	return shares
}

// TestTinyWeights: weights that are divided by their sum, and their gradients, are those of exact
// arithmetic however low logits are, before drops and after them; and so are the shares of the
// balance losses.
func TestTinyWeights(t *testing.T) {
	rows := tinyLogits()
	for _, score := range []Score{Sigmoid, SqrtSoftplus, SoftmaxBefore, SoftmaxAfter} {
		for _, renormalize := range []Renormalize{RenormalizeBeforeDrop, RenormalizeAfterDrop} {
			for _, k := range []int{1, 2, 4} {
				for _, capacity := range []float64{0, 0.6} {
					for _, losses := range [][]Loss{nil, {Balance(0.5), SequenceBalance(0.5, 7)}} {
						config := TopK{K: k, Score: score, Renormalize: renormalize, CapacityFactor: capacity, Losses: losses}
						t.Run(fmt.Sprintf("%v/%v/k=%d/capacity=%v/losses=%d", score, renormalize, k, capacity, len(losses)), func(t *testing.T) {
							checkTiny(t, config, rows)
						})
					}
				}
			}
		}
	}
}

func checkTiny(t *testing.T, config TopK, rows [][]float64) {
	g := gateWith(t, config, rows)
	n := len(rows)
	x, b := identity(n), Batch{Ends: []int{n}, Train: true}
	d, err := g.Route(x, b)
	require.NoError(t, err)
	c := d.Saved.(*choices)
	grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{0}, DX: blas32.General{Rows: n, Cols: n, Stride: n, Data: make([]float32, n*n)}}
	for i := range grad.Weights {
		grad.Weights[i] = float32(i%5) - 2
	}
	want := make([][]float64, n)
	for i, logits := range rows {
		want[i] = make([]float64, len(logits))
		entries, chosen := c.entry[i*c.k:(i+1)*c.k], c.chosen[i*c.k:(i+1)*c.k]
		var of, at []int32
		for j, e := range chosen {
			if config.Renormalize == RenormalizeBeforeDrop || entries[j] >= 0 {
				of, at = append(of, e), append(at, entries[j])
			}
		}
		shares, mean := sharesOfLogs(config.Score, logits, of), 0.0
		for j := range of {
			if at[j] >= 0 {
				require.InDelta(t, shares[j], d.Weight[at[j]], 2e-6, "token %d: %v of %v", i, chosen, logits)
				mean += shares[j] * float64(grad.Weights[at[j]])
			}
		}
		for j, e := range of {
			dw := 0.0
			if at[j] >= 0 {
				dw = float64(grad.Weights[at[j]])
			}
			want[i][e] = shares[j] * (dw - mean) * logSlope(config.Score, logits[e])
		}
	}
	if len(config.Losses) > 0 {
		requireShares(t, config, c, rows)
	}
	require.NoError(t, g.Backward(d, x, grad))
	got := g.Params().Grad.Total()
	for i := range want {
		for e, v := range want[i] {
			require.InDelta(t, v, got[i*4+e], 1e-5, "token %d, expert %d: %v", i, e, rows[i])
		}
	}
}

// logSlope is the derivative of logScore.
func logSlope(s Score, x float64) float64 {
	switch h := 1e-5; {
	case s == SoftmaxBefore || s == SoftmaxAfter:
		return 1
	case x < -40:
		return map[Score]float64{Sigmoid: 1, SqrtSoftplus: 0.5}[s]
	default:
		return (logScore(s, x+h) - logScore(s, x-h)) / (2 * h)
	}
}

// requireShares compares the sums of shares that balance losses read.
func requireShares(t *testing.T, config TopK, c *choices, rows [][]float64) {
	sums := make([]float64, 4)
	for _, logits := range rows {
		for e, v := range sharesOfLogs(config.Score, logits, []int32{0, 1, 2, 3}) {
			sums[e] += v
		}
	}
	require.Len(t, c.shares, len(sums))
	for e, v := range sums {
		require.InDelta(t, v, c.shares[e], 1e-4)
	}
}

// TestTinyShareGradient compares the gradient of the balance losses with differences of their
// values.
func TestTinyShareGradient(t *testing.T) {
	for _, score := range []Score{Sigmoid, SqrtSoftplus} {
		for _, base := range []float64{0, -25, -29, -60, -120, -1000} {
			rows := [][]float64{{base, base - 1, base - 0.5, base - 2}, {base - 1, base, base - 3, base - 0.25}}
			loss := func(rows [][]float64) (*Decision, Gate) {
				g := gateWith(t, TopK{K: 2, Score: score, Losses: []Loss{Balance(1), SequenceBalance(1, 1)}}, rows)
				d, err := g.Route(identity(2), Batch{Ends: []int{2}, Train: true})
				require.NoError(t, err)
				return d, g
			}
			d, g := loss(rows)
			require.NoError(t, g.Backward(d, identity(2), Gradient{Weights: make([]float32, 4), LossScale: []float32{1},
				DX: blas32.General{Rows: 2, Cols: 2, Stride: 2, Data: make([]float32, 4)}}))
			got := append([]float32(nil), g.Params().Grad.Total()...)
			for i := range rows {
				for e := range rows[i] {
					const h = 1. / 64
					at := rows[i][e]
					rows[i][e] = at + h
					above, _ := loss(rows)
					rows[i][e] = at - h
					below, _ := loss(rows)
					rows[i][e] = at
					require.InDelta(t, (above.GroupLoss[0]-below.GroupLoss[0])/(2*h), got[i*4+e], 2e-4, "%v at %v: token %d, expert %d", score, base, i, e)
				}
			}
		}
	}
}

// TestTinyWeightsOfEveryGate: the weights of a token sum to 1 with every gate that divides them.
func TestTinyWeightsOfEveryGate(t *testing.T) {
	var rows [][]float64
	for _, base := range []float64{-45, -100, -1e6} {
		rows = append(rows, []float64{base, base, base - 30, base - 30}, []float64{base - 1, base, base - 2, base - 1})
	}
	for _, score := range []Score{Sigmoid, SqrtSoftplus} {
		top := TopK{K: 2, Score: score}
		biased := TopK{K: 2, Score: score, Bias: []float32{0, 0.5, 0, 0.25}, BiasRate: 0.01}
		for name, config := range map[string]Router{
			"topk": top, "biased": biased, "groups": GroupLimited{TopK: top, Groups: 2, Keep: 1}, "quantile": QuantileBalanced{TopK: top},
			"several": Several{Routers: []Router{top}}, "gumbel": NoisyTopK{TopK: top, Noise: Gumbel, Amount: 1},
			"gshard": GShard{NoisySecond: true},
		} {
			g := gateWith(t, config, rows)
			for _, train := range []bool{false, true} {
				d, err := g.Route(identity(len(rows)), Batch{Ends: []int{2, len(rows)}, Train: train})
				require.NoError(t, err, name)
				sums := make([]float64, len(rows))
				for i, w := range d.Weight {
					sums[d.Token[i]] += float64(w)
				}
				for i, s := range sums {
					require.InDelta(t, 1, s, 1e-6, "%s, %v, train=%t: token %d", name, score, train, i)
				}
			}
		}
	}
}
