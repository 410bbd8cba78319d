package expert_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
)

// TestFrozenExpertsTakeNoGradientMemory counts the bytes that passes in flight take, of new
// experts.
func TestFrozenExpertsTakeNoGradientMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory itself")
	}
	const dim, hidden, count, rows, passes = 64, 256, 16, 96, 4
	r := seeded(t)
	x := blas32.General{Rows: rows, Cols: dim, Stride: dim, Data: make([]float32, rows*dim)}
	fill(r, x.Data)
	ends := make([]int, count)
	for e := range ends {
		ends[e] = (e + 1) * rows / count
	}
	for name, kind := range map[string]expert.Expert{
		"ffn": expert.FFN{Hidden: hidden, Workers: 1}, "swiglu": expert.SwiGLU{Hidden: hidden, Workers: 1},
	} {
		of := func(frozen bool) (forward, backward, leaf int) {
			g, err := kind.New(expert.Shape{Dim: dim, Count: count, Seed: 1})
			require.NoError(t, err)
			g.Params().Frozen = frozen
			var saved [passes]expert.Saved
			forward = allocated(func() {
				for i := range saved {
					_, saved[i] = g.Forward(x, expert.Rows{Experts: count, FirstLeaf: i, Leaves: 1, Ends: ends})
				}
			})
			backward = allocated(func() {
				for i := range saved {
					g.Backward(saved[i], x)
				}
			})
			return forward, backward, 4 * len(g.Params().Value)
		}
		of(false) // so that what products take once counts in neither
		const hiddenUnits = 4 * rows * hidden
		forward, backward, leaf := of(true)
		trainedForward, trainedBackward, _ := of(false)
		require.Less(t, backward, leaf, name)
		require.Greater(t, trainedBackward, leaf, name)
		require.GreaterOrEqual(t, trainedForward-forward, (passes-1)*hiddenUnits,
			"%s: a matrix for each pass but one, which is scratch", name)
	}
}

// allocated returns the bytes that f allocates.
func allocated(f func()) int {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}
