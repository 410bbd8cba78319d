package router

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/neartest"
)

// TestSequencesOfUnequalLength: the loss of a token group is the mean of the balance losses of its
// sequences, of which each is a group by itself here, padding left out, sequences of nothing but
// padding or without tokens too; and so are the gradients.
func TestSequencesOfUnequalLength(t *testing.T) {
	const tokens, dim = 14, 3
	r := rand.New(rand.NewPCG(1, 2))
	x := dense(tokens, dim, make([]float32, tokens*dim))
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	padding := make([]bool, tokens)
	padding[2], padding[8], padding[9] = true, true, true // rows 8 and 9 are a sequence
	sequences := []int{3, 4, 4, 8, 10, 14}
	for name, c := range map[string]struct {
		length int
		score  Score
		ends   []int
	}{
		"one group": {0, SoftmaxBefore, []int{14}}, "two groups": {0, Sigmoid, []int{8, 14}}, "a length beside": {5, SqrtSoftplus, []int{14}},
	} {
		t.Run(name, func(t *testing.T) {
			pass := func(loss Loss, b Batch, scale []float32) (value []float64, dx, gate []float32) {
				g, err := TopK{K: 2, Score: c.score, Losses: []Loss{loss}}.New(Shape{Dim: dim, Experts: 4, Seed: 3})
				require.NoError(t, err)
				b.Train, b.Padding = true, padding
				d, err := g.Route(x, b)
				require.NoError(t, err)
				value = append(value, d.GroupLoss...)
				grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: scale, DX: dense(tokens, dim, make([]float32, tokens*dim))}
				require.NoError(t, g.Backward(d, x, grad))
				return value, grad.DX.Data, g.Params().Grad.Total()
			}
			// Each sequence weighs one over the number of those with tokens in its token group.
			weights, means, s := make([]float32, len(sequences)), make([]float64, len(c.ends)), 0
			within := make([][]int, len(c.ends))
			for i, end := range sequences {
				if begin := append([]int{0}, sequences...)[i]; begin == end || begin == 8 {
					continue // no tokens
				}
				if end > c.ends[s] {
					s++
				}
				within[s] = append(within[s], i)
			}
			for _, list := range within {
				for _, i := range list {
					weights[i] = 1 / float32(len(list))
				}
			}
			each, wantDX, wantGate := pass(Balance(0.5), Batch{Ends: sequences}, weights)
			for g, list := range within {
				for _, i := range list {
					means[g] += each[i] / float64(len(list))
				}
			}
			scale := make([]float32, len(c.ends))
			for i := range scale {
				scale[i] = 1
			}
			got, dx, gate := pass(SequenceBalance(0.5, c.length), Batch{Ends: c.ends, Sequences: sequences}, scale)
			neartest.Equal(t, means, got, 1e-6)
			neartest.Equal(t, wantDX, dx, 1e-6)
			neartest.Equal(t, wantGate, gate, 1e-6)
		})
	}
}

// TestSequencesAreChecked: ends that do not rise to the last row, or are not given where they are
// asked for, are an error, and the gate works on.
func TestSequencesAreChecked(t *testing.T) {
	g, err := TopK{K: 1, Losses: []Loss{SequenceBalance(1, 0)}}.New(Shape{Dim: 3, Experts: 3})
	require.NoError(t, err)
	for says, sequences := range map[string][]int{
		"goes by Batch.Sequences, which is not given for 3 tokens": nil,
		"sequence 1 ends at row 1, before its begin at 2":          {2, 1, 3},
		"sequence 0 ends at row -1":                                {-1, 3},
		"sequences end at row 2 of 3":                              {2},
		"sequences end at row 4 of 3":                              {2, 4},
	} {
		_, err := g.Route(identity(3), Batch{Ends: []int{3}, Sequences: sequences})
		require.ErrorContains(t, err, says)
	}
	_, err = g.Route(identity(3), Batch{Ends: []int{3}, Sequences: []int{1, 3}})
	require.NoError(t, err)
	_, err = g.Route(identity(0), Batch{})
	require.NoError(t, err)
	_, err = TopK{K: 1, Losses: []Loss{SequenceBalance(1, -1)}}.New(Shape{Dim: 3, Experts: 3})
	require.ErrorContains(t, err, "zero Loss")
}
