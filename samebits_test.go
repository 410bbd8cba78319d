package switchyard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/router"
)

const (
	bitsDim    = 12
	bitsGroup  = 4
	bitsTokens = 10*bitsGroup + 3 // the last group is ragged
)

// splits lists, for each number of ranks, ways to cut ten groups and a ragged one.
var splits = map[int][][]int{ // groups that end each rank's part; 11 is the ragged one
	1: {{11}},
	2: {{5, 11}, {8, 11}, {0, 11}, {11, 11}},
	3: {{4, 8, 11}, {1, 1, 11}},
	4: {{2, 5, 8, 11}, {0, 3, 3, 11}},
	6: {{2, 3, 3, 6, 9, 11}, {0, 11, 11, 11, 11, 11}},
	7: {{1, 3, 5, 7, 9, 10, 11}, {0, 0, 0, 11, 11, 11, 11}},
	8: {{1, 2, 3, 4, 5, 6, 8, 11}},
}

func cutsOf(groups []int) []int {
	cuts := make([]int, len(groups))
	for i, g := range groups {
		cuts[i] = min(g*bitsGroup, bitsTokens)
	}
	return cuts
}

func layersUnderTest() map[string]Config {
	topK := func(k router.TopK, experts int, e expert.Expert) Config {
		return Config{Dim: bitsDim, Experts: experts, Router: k, Expert: e, Group: bitsGroup, Seed: 3}
	}
	losses := []router.Loss{router.Balance(0.1), router.ZLoss(0.01)}
	return map[string]Config{
		"dropless": topK(router.TopK{K: 2, Losses: losses}, 8, expert.SwiGLU{Hidden: 9}),
		"drops":    topK(router.TopK{K: 2, CapacityFactor: 0.75, Losses: losses}, 5, expert.FFN{Hidden: 9, Activation: expert.GELU}),
		"oneExpertForAll": {Dim: bitsDim, Experts: 6, Group: bitsGroup, Seed: 4, Expert: expert.FFN{Hidden: 7},
			Router: router.Forced{Route: func(int) []router.ExpertID { return []router.ExpertID{4} }}},
		"fewerExpertsThanRanks": topK(router.TopK{K: 1}, 1, expert.SwiGLU{Hidden: 5}),
		"everyExpert":           topK(router.TopK{K: 3, Score: router.SoftmaxBefore}, 3, expert.SwiGLU{Hidden: 5}),
	}
}

func randomMatrix(r *rand.Rand, rows, cols int) blas32.General {
	m := blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: make([]float32, rows*cols)}
	for i := range m.Data {
		m.Data[i] = float32(r.NormFloat64())
	}
	return m
}

// TestSameTokensSameBits is the promise of DESIGN in a test: whatever the number of ranks, however
// the tokens are spread over them, however many copies of the experts there are.
func TestSameTokensSameBits(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for name, cfg := range layersUnderTest() {
		want := checkSameBits(t, name, cfg, x, dy, router.Batch{}, splits)
		if name == "drops" {
			require.NotZero(t, want.dropped)
		}
	}
}

// checkSameBits trains on one rank, and on every number of them in every way, and compares.
func checkSameBits(t *testing.T, name string, cfg Config, x, dy blas32.General, side router.Batch, splits map[int][][]int) result {
	t.Helper()
	want := trainTwiceWith(t, inprocWorlds(1), cfg, x, dy, side, []int{bitsTokens})
	for ranks, ways := range splits {
		if (raced || testing.Short()) && ranks != 4 {
			continue
		}
		for _, way := range ways {
			for parallel := 1; parallel <= ranks; parallel++ {
				if ranks%parallel != 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s/ranks=%d/groups=%v/parallel=%d", name, ranks, way, parallel), func(t *testing.T) {
					cfg := cfg
					cfg.ExpertParallel = parallel
					requireSameBits(t, want, trainTwiceWith(t, inprocWorlds(ranks), cfg, x, dy, side, cutsOf(way)))
				})
			}
		}
	}
	return want
}

// needExactProducts skips a test of bits where products come from a library that does not define
// them.
func needExactProducts(t *testing.T) {
	t.Helper()
	if !gemm.Exact {
		t.Skipf("%s does not define the bits of a product", gemm.Name())
	}
}

func requireSameBits(t *testing.T, want, got result) {
	t.Helper()
	sameBits(t, "y", want.y, got.y)
	sameBits(t, "dx", want.dx, got.dx)
	require.Equal(t, want.dropped, got.dropped)
	for i := range want.gradients {
		require.Equal(t, want.gradients[i].Name, got.gradients[i].Name)
		require.Equal(t, want.gradients[i].Shape, got.gradients[i].Shape)
		sameBits(t, "gradient of "+want.gradients[i].Name, want.gradients[i].Data, got.gradients[i].Data)
		sameBits(t, want.parameters[i].Name, want.parameters[i].Data, got.parameters[i].Data)
	}
}

func sameBits(t *testing.T, what string, want, got []float32) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		if math.Float32bits(want[i]) != math.Float32bits(got[i]) {
			require.Failf(t, "bits differ", "%s: element %d of %d is %v, want %v", what, i, len(want), got[i], want[i])
		}
	}
}
