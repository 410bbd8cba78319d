package router

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// bruteForce returns the largest sum of scores of any assignment that gives each expert ⌊T/E⌋ or
// ⌈T/E⌉ tokens.
func bruteForce(scores [][]float32, experts int) float64 {
	tokens := len(scores)
	floor, ceiling := tokens/experts, (tokens+experts-1)/experts
	load, found := make([]int, experts), -1e300
	var try func(t int, sum float64)
	try = func(t int, sum float64) {
		if t == tokens {
			for _, n := range load {
				if n < floor {
					return
				}
			}
			found = max(found, sum)
			return
		}
		for e := range load {
			if load[e] < ceiling {
				load[e]++
				try(t+1, sum+float64(scores[t][e]))
				load[e]--
			}
		}
	}
	try(0, 0)
	return found
}

// worth checks the balance of an assignment and returns the sum of its scores.
func worth(t testing.TB, got []int32, scores [][]float32, experts int) float64 {
	load, sum := make([]int, experts), 0.0
	require.Len(t, got, len(scores))
	for i, e := range got {
		load[e]++
		sum += float64(scores[i][e])
	}
	for e, n := range load {
		require.GreaterOrEqual(t, n, len(scores)/experts, "expert %d", e)
		require.LessOrEqual(t, n, (len(scores)+experts-1)/experts, "expert %d", e)
	}
	return sum
}

// TestAuctionIsOptimal compares the auction with all assignments of small token groups: random
// scores, scores with many ties, and tokens that are all alike but for one.
func TestAuctionIsOptimal(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	draws := map[string]func(i, e int) float32{
		"normal": func(int, int) float32 { return float32(r.NormFloat64()) },
		"ties":   func(int, int) float32 { return float32(r.IntN(3)) },
		"alike":  func(i, e int) float32 { return float32(e*e) - float32(i/7) },
		"far":    func(int, int) float32 { return float32(r.NormFloat64() * 1e30) },
	}
	var a auction
	for name, draw := range draws {
		for range 150 {
			tokens, experts := 1+r.IntN(8), 1+r.IntN(4)
			scores, spread := make([][]float32, tokens), 0.0
			for i := range scores {
				scores[i] = make([]float32, experts)
				for e := range scores[i] {
					scores[i][e] = draw(i, e)
				}
				low, high := bounds(scores[i])
				spread = max(spread, float64(high)-float64(low))
			}
			got := a.assign(tokens, experts, func(i int) []float32 { return scores[i] })
			want := bruteForce(scores, experts)
			require.InDelta(t, want, worth(t, got, scores, experts), float64(tokens)*spread/levels, "%s: %v", name, scores)
			rounded := make([][]float32, tokens) // what it goes by, of which the sum is exact
			for i := range rounded {
				for _, level := range a.scoresOf(int32(i)) {
					rounded[i] = append(rounded[i], float32(level))
				}
			}
			require.Equal(t, bruteForce(rounded, experts), worth(t, got, rounded, experts), "%s: %v", name, rounded)
		}
	}
}

// TestAuctionOfAnyGroup uses the memory of large token groups for small ones, and of many experts
// for few.
func TestAuctionOfAnyGroup(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var a auction
	for _, size := range [][2]int{{300, 8}, {7, 3}, {3, 7}, {100, 64}, {64, 1}, {1, 5}, {300, 8}} {
		scores := make([][]float32, size[0])
		for i := range scores {
			scores[i] = make([]float32, size[1])
			for e := range scores[i] {
				scores[i][e] = float32(r.NormFloat64())
			}
		}
		line := func(i int) []float32 { return scores[i] }
		got := append([]int32(nil), a.assign(size[0], size[1], line)...)
		worth(t, got, scores, size[1])
		require.Equal(t, new(auction).assign(size[0], size[1], line), got, "%v", size)
	}
}

// TestAuctionBreaksTiesAlike pins which of several equally good assignments the auction takes: a
// job that goes on from a checkpoint must go on with the same.
func TestAuctionBreaksTiesAlike(t *testing.T) {
	h := fnv.New64a()
	var a auction
	for _, size := range [][2]int{{12, 3}, {13, 3}, {7, 5}, {64, 8}, {61, 8}, {3, 7}, {200, 16}, {199, 16}} {
		r := rand.New(rand.NewPCG(uint64(size[0]), uint64(size[1])))
		for _, kinds := range []int{1, 2, 3, 9} {
			scores := make([]float32, size[0]*size[1])
			for i := range scores {
				scores[i] = float32(r.IntN(kinds))
			}
			for _, e := range a.assign(size[0], size[1], func(i int) []float32 { return scores[i*size[1] : (i+1)*size[1]] }) {
				h.Write([]byte{byte(e)})
			}
		}
	}
	require.Equal(t, uint64(0x3a8b10ef63015467), h.Sum64())
}

// BenchmarkAuction times the assignment of random tokens, and of tokens of which many are alike.
func BenchmarkAuction(b *testing.B) {
	for _, kinds := range []int{0, 50} {
		for _, size := range [][2]int{{1024, 8}, {1024, 64}, {8192, 64}, {8191, 64}} {
			tokens, experts := size[0], size[1]
			b.Run(fmt.Sprintf("tokens=%d/experts=%d/kinds=%d", tokens, experts, kinds), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 2))
				scores := make([]float32, tokens*experts)
				for i := range scores {
					if scores[i] = float32(r.NormFloat64()); kinds > 0 && i >= kinds*experts {
						scores[i] = scores[i-kinds*experts]
					}
				}
				var a auction
				for b.Loop() {
					a.assign(tokens, experts, func(i int) []float32 { return scores[i*experts : (i+1)*experts] })
				}
				b.ReportMetric(float64(tokens)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}
