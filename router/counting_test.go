package router

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/neartest"
)

// TestPlainCounts: with limits to groups and a bias the losses that count plainly are those of a
// gate without either, and so are their gradients.
func TestPlainCounts(t *testing.T) {
	const tokens, experts = 24, 8
	logits := randomLogits(rand.New(rand.NewPCG(1, 2)), tokens, experts)
	b := Batch{Ends: []int{10, tokens}, Sequences: []int{6, 10, 17, tokens}, Train: true}
	for _, loss := range []func(options ...Counting) Loss{
		func(options ...Counting) Loss { return Balance(0.5, options...) },
		func(options ...Counting) Loss { return SequenceBalance(0.5, 0, options...) },
	} {
		top := TopK{K: 2, Score: Sigmoid, Losses: []Loss{loss()}}
		wantLoss, want := lossAndGradient(t, top, logits, b)
		top.Bias = []float32{1, -1, 0, 0.5, 0, 0, -0.5, 1}
		limited := GroupLimited{TopK: top, Groups: 4, Keep: 1}
		limited.Losses = []Loss{loss(CountPlain)}
		for _, bias := range [][]float32{limited.Bias, nil} {
			limited.Bias = bias
			gotLoss, got := lossAndGradient(t, limited, logits, b)
			neartest.Equal(t, wantLoss, gotLoss, 1e-6)
			neartest.Equal(t, want, got, 1e-7)
		}
		limited.Losses = []Loss{loss()}
		otherLoss, _ := lossAndGradient(t, limited, logits, b)
		require.NotEqual(t, wantLoss, otherLoss, "limits change what is counted")
	}
}

// TestMeanLength: a sequence's share is that of its own loss times the square of its length over
// the mean length, divided by the number of sequences, those of nothing but padding included.
func TestMeanLength(t *testing.T) {
	const tokens, experts = 14, 5
	logits := randomLogits(rand.New(rand.NewPCG(1, 2)), tokens, experts)
	padding := make([]bool, tokens)
	padding[2], padding[8], padding[9] = true, true, true
	sequences := []int{4, 8, 10, 14}
	lengths := []float64{3, 4, 0, 4}
	const mean = 11. / 4
	top := TopK{K: 2, Score: SqrtSoftplus, Losses: []Loss{Balance(0.5)}}
	each, _ := lossAndGradient(t, top, logits, Batch{Ends: sequences, Padding: padding, Train: true})
	want := 0.0
	for i, n := range lengths {
		want += each[i] * n * n / (mean * mean) / 4
	}
	for _, c := range []struct {
		length    int
		sequences []int
	}{{0, sequences}, {0, []int{4, 4, 8, 10, 14}}} {
		top.Losses = []Loss{SequenceBalance(0.5, c.length, MeanLength)}
		got, _ := lossAndGradient(t, top, logits, Batch{Ends: []int{tokens}, Sequences: c.sequences, Padding: padding, Train: true})
		neartest.Equal(t, []float64{want}, got, 1e-6)
	}
	top.Losses = []Loss{SequenceBalance(0.5, 4, MeanLength)} // 4 sequences, the last one shorter
	fixed, _ := lossAndGradient(t, top, logits, Batch{Ends: []int{tokens}, Train: true})
	top.Losses = []Loss{SequenceBalance(0.5, 0, MeanLength)}
	given, _ := lossAndGradient(t, top, logits, Batch{Ends: []int{tokens}, Sequences: []int{4, 8, 12, 14}, Train: true})
	require.Equal(t, given, fixed)
}

// TestUnknownCounting: what a loss does not know, or has no use for, is refused.
func TestUnknownCounting(t *testing.T) {
	for _, l := range []Loss{Balance(1, MeanLength), Balance(1, 4), SequenceBalance(1, 2, CountPlain, 4)} {
		_, err := TopK{K: 1, Losses: []Loss{l}}.New(Shape{Dim: 2, Experts: 3})
		require.ErrorContains(t, err, "zero Loss")
	}
}

// TestQuantilesOfLogits: the choice is by logits with the bias, the price the difference at which
// one token more would come.
func TestQuantilesOfLogits(t *testing.T) {
	logits := [][]float64{{2, 1, 0}, {1, 3, 0}, {4, 0, 2}, {0, 1, 3}, {2, 0, 1}, {3, 1, 2}}
	g := gateWith(t, QuantileBalanced{TopK: TopK{K: 1, Score: Sigmoid, Bias: []float32{0, 0, 1.5}}, OfLogits: true}, logits).(Balancer)
	d, err := g.Route(identity(6), Batch{Ends: []int{6}, Train: true})
	require.NoError(t, err)
	require.Equal(t, []int{2, 1, 3}, d.Counts)
	require.NoError(t, g.Backward(d, identity(6), Gradient{Weights: make([]float32, 6), LossScale: make([]float32, 1), DX: identity(6)}))
	// Biased: 2 1 1.5, 1 3 1.5, 4 0 3.5, 0 1 4.5, 2 0 2.5, 3 1 3.5. Thresholds: 1.5 1.5 3.5 1 2 3.
	// Differences of expert 0: 0.5 -0.5 0.5 -1 0 0, of which the third largest is 0; of expert 1:
	// -0.5 1.5 -3.5 0 -2 -2; of expert 2: -1.5 -1.5 -1.5 2 -1 -1.
	for e, want := range []int64{0, -1, -2} {
		require.Equal(t, want*priceUnits/2, g.Tally()[e], "expert %d", e)
	}
}

// lossAndGradient returns the loss of each token group, and the gradient of their sum by logit.
func lossAndGradient(t *testing.T, config Router, logits [][]float64, b Batch) ([]float64, []float32) {
	t.Helper()
	g := gateWith(t, config, logits)
	d, err := g.Route(identity(len(logits)), b)
	require.NoError(t, err)
	loss := append([]float64(nil), d.GroupLoss...)
	scale := make([]float32, len(b.Ends))
	for i := range scale {
		scale[i] = 1
	}
	require.NoError(t, g.Backward(d, identity(len(logits)), Gradient{Weights: make([]float32, len(d.Weight)), LossScale: scale, DX: identity(len(logits))}))
	return loss, g.Params().Grad.Total()
}
