package router

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// repeatedLogits has three different rows, so that many scores are equal.
func repeatedLogits(r *rand.Rand, tokens, experts int) [][]float64 {
	kinds := randomLogits(r, 3, experts)
	logits := make([][]float64, tokens)
	for t := range logits {
		logits[t] = kinds[r.IntN(len(kinds))]
	}
	return logits
}

// TestWholeBatchChoosesAsOneRankWould cuts a batch full of equal scores into shares, lets them
// consult, and compares with the slow rule on all tokens.
func TestWholeBatchChoosesAsOneRankWould(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const experts = 6
	for trial := range 60 {
		tokens, shares := r.IntN(50), 1+r.IntN(8)
		config := ExpertChoice{CapacityFactor: 0.25 * float64(1+r.IntN(16)), Over: WholeBatch, Score: []Score{SoftmaxBefore, Sigmoid}[trial%2]}
		logits := repeatedLogits(r, tokens, experts)
		padding := make([]bool, tokens)
		for i := range padding {
			padding[i] = r.IntN(4) == 0
		}
		want := make([][]int, experts)
		if tokens > 0 {
			want = slowChoice(logits, padding, 0, tokens, config.Score == Sigmoid, func(n int) int { return config.Bound(n, experts, true) })
		}
		got, rounds := consultAll(t, config, logits, padding, cutsInto(r, tokens, shares))
		for e := range want {
			require.Equal(t, append([]int{}, want[e]...), got[e], "expert %d of %+v, %d tokens in %d shares", e, config, tokens, shares)
		}
		require.LessOrEqual(t, rounds, 10)
	}
}

// cutsInto returns the ends of random shares.
func cutsInto(r *rand.Rand, tokens, shares int) []int {
	cuts := make([]int, shares)
	for i := range cuts {
		cuts[i] = r.IntN(tokens + 1)
	}
	cuts[shares-1] = tokens
	slices.Sort(cuts)
	return cuts
}

// consultAll drives a gate for each share, adding up what they count, and returns each expert's
// tokens by their numbers in the batch.
func consultAll(t *testing.T, config Router, logits [][]float64, padding []bool, cuts []int) (chosen [][]int, rounds int) {
	shares := make([]Consultation, len(cuts))
	counts := make([][]int64, len(cuts))
	begin := 0
	for i, end := range cuts {
		dim := max(len(logits), 1)
		g := gateOverAll(t, config, logits)
		x := mat.Rows(blas32.General{Rows: dim, Cols: dim, Stride: dim, Data: identity(dim).Data}, begin, end)
		b := Batch{Train: true, Padding: padding[begin:end]}
		if end > begin {
			b.Ends = []int{end - begin}
		}
		shares[i] = g.(Consulting).Consult(x, b, Share{Index: i, Count: len(cuts)})
		var err error
		counts[i], err = shares[i].Next(nil)
		require.NoError(t, err)
		begin = end
	}
	for ; len(counts[0]) > 0; rounds++ {
		sums := make([]int64, len(counts[0]))
		for _, list := range counts {
			require.Len(t, list, len(sums), "shares count alike")
			for j, n := range list {
				sums[j] += n
			}
		}
		for i, c := range shares {
			var err error
			counts[i], err = c.Next(slices.Clone(sums))
			require.NoError(t, err)
		}
	}
	return collect(t, shares, cuts), rounds
}

// collect puts the shares' decisions together.
func collect(t *testing.T, shares []Consultation, cuts []int) (chosen [][]int) {
	begin := 0
	for i, c := range shares {
		d := c.Decide()
		require.NoError(t, d.Validate())
		if chosen == nil {
			chosen = make([][]int, d.Experts)
			for e := range chosen {
				chosen[e] = []int{}
			}
		}
		for e := range chosen {
			from, to := d.Of(ExpertID(e))
			for _, token := range d.Token[from:to] {
				chosen[e] = append(chosen[e], begin+int(token))
			}
		}
		begin = cuts[i]
	}
	return chosen
}

// gateOverAll is gateWith for a batch that may have no tokens.
func gateOverAll(t *testing.T, config Router, logits [][]float64) Gate {
	if len(logits) == 0 {
		g, err := config.New(Shape{Dim: 1, Experts: 6})
		require.NoError(t, err)
		return g
	}
	return gateWith(t, config, logits)
}

func TestKeysAscendWithScores(t *testing.T) {
	list := []float32{float32(math.Inf(-1)), -math.MaxFloat32, -1, -math.SmallestNonzeroFloat32, 0, math.SmallestNonzeroFloat32, 0.5, 1, math.MaxFloat32}
	for i := range list[1:] {
		require.Less(t, keyOf(list[i]), keyOf(list[i+1]))
	}
	require.Equal(t, keyOf(0), keyOf(float32(math.Copysign(0, -1))))
}

// TestConsultationCounts holds what is counted against the formula in the comment of ExpertChoice.
func TestConsultationCounts(t *testing.T) {
	const tokens, experts, shares = 32, 8, 4
	g := gateWith(t, ExpertChoice{Over: WholeBatch}, randomLogits(rand.New(rand.NewPCG(1, 2)), tokens, experts)).(Consulting)
	c := g.Consult(identity(tokens), Batch{Ends: []int{tokens}}, Share{Count: shares})
	counts, err := c.Next(nil)
	words, rounds := 0, 0
	for ; len(counts) > 0; rounds++ {
		require.NoError(t, err)
		words += len(counts)
		counts, err = c.Next(slices.Clone(counts))
	}
	require.Equal(t, 9, rounds, "one of tokens, eight of digits; no ties")
	require.Equal(t, 8+512*experts, 8*words)

	g = gateWith(t, ExpertChoice{Over: WholeBatch}, make2d(tokens, experts)).(Consulting)
	c = g.Consult(identity(tokens), Batch{Ends: []int{tokens}}, Share{Count: shares})
	words = 0
	for counts, err = c.Next(nil); len(counts) > 0; counts, err = c.Next(slices.Clone(counts)) {
		require.NoError(t, err)
		words += len(counts)
	}
	require.Equal(t, 8+512*experts+8*shares*experts, 8*words, "all experts have ties")
}

func make2d(rows, cols int) [][]float64 {
	list := make([][]float64, rows)
	for i := range list {
		list[i] = make([]float64, cols)
	}
	return list
}

// TestAShareThatCannotRouteStillCounts: the first counts come with the error, as many as without
// it.
func TestAShareThatCannotRouteStillCounts(t *testing.T) {
	logits := make2d(4, 3)
	logits[2][1] = math.NaN()
	g := gateWith(t, ExpertChoice{Over: WholeBatch}, logits).(Consulting)
	counts, err := g.Consult(identity(4), Batch{Ends: []int{4}}, Share{Count: 2}).Next(nil)
	require.ErrorContains(t, err, "expert 1 is NaN")
	require.Equal(t, []int64{0}, counts)
}

// TestSeveralConsultationsAreUnfinished: going through their rounds in turns they decide as alone.
func TestSeveralConsultationsAreUnfinished(t *testing.T) {
	const experts = 3
	r := rand.New(rand.NewPCG(4, 5))
	newGate := func() Consulting {
		g, err := ExpertChoice{CapacityFactor: 0.7, Over: WholeBatch}.New(Shape{Dim: 4, Experts: experts, Seed: 6})
		require.NoError(t, err)
		return g.(Consulting)
	}
	g := newGate()
	for range 2 { // the second time in used memory
		var want, got [3]*Decision
		var under [3]Consultation
		var sums [3][]int64
		for i, n := range []int{9, 17, 4} {
			x := blas32.General{Rows: n, Cols: 4, Stride: 4, Data: make([]float32, 4*n)}
			for j := range x.Data {
				x.Data[j] = float32(r.NormFloat64())
			}
			var err error
			want[i], err = newGate().Route(x, Batch{Ends: []int{n}, Train: true})
			require.NoError(t, err)
			under[i] = g.Consult(x, Batch{Ends: []int{n}, Train: true}, Share{Count: 1})
		}
		for left := len(under); left > 0; {
			for i := range under {
				if got[i] != nil {
					continue
				}
				var err error
				sums[i], err = under[i].Next(sums[i])
				require.NoError(t, err)
				if len(sums[i]) == 0 {
					got[i] = under[i].Decide()
					left--
				}
			}
		}
		for i := range got {
			require.Equal(t, want[i].Assignment, got[i].Assignment, "batch %d", i)
			require.NoError(t, g.Backward(got[i], blas32.General{Rows: got[i].Tokens, Cols: 4, Stride: 4, Data: make([]float32, 4*got[i].Tokens)}, Gradient{
				Weights: make([]float32, len(got[i].Weight)), LossScale: []float32{1},
				DX: blas32.General{Rows: got[i].Tokens, Cols: 4, Stride: 4, Data: make([]float32, 4*got[i].Tokens)},
			}))
			g.Params().Grad.Reset()
		}
	}
}
