package switchyard

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

// TestPassesCutOtherwiseAddUp adds up two passes whose tokens are not cut alike: what the plan of
// the first says of groups must outlive the memory that the second one's takes over.
func TestPassesCutOtherwiseAddUp(t *testing.T) {
	needExactProducts(t)
	const tokens = 5 * bitsGroup
	r := rand.New(rand.NewPCG(7, 8))
	x, dy := randomMatrix(r, tokens, bitsDim), randomMatrix(r, tokens, bitsDim)
	gradients := func(cuts [][]int) (g []Tensor) {
		for _, err := range onRanks(inprocWorlds(len(cuts[0])), func(w *World) error {
			list, err := accumulate(w, x, dy, cuts)
			if w.Rank() == 0 {
				g = list
			}
			return err
		}) {
			require.NoError(t, err)
		}
		return g
	}
	want := gradients([][]int{{tokens}, {tokens}})
	got := gradients([][]int{{bitsGroup, tokens}, {4 * bitsGroup, tokens}})
	require.Len(t, got, len(want))
	for i := range want {
		sameBits(t, want[i].Name, want[i].Data, got[i].Data)
	}
}

// accumulate runs one pass for each of cuts, which say where every rank's tokens end, and returns
// the gradients.
func accumulate(w *World, x, dy blas32.General, cuts [][]int) ([]Tensor, error) {
	ctx := context.Background()
	layer, err := NewLayer(w, layersUnderTest()["dropless"])
	if err != nil {
		return nil, err
	}
	for _, ends := range cuts {
		begin := 0
		if w.Rank() > 0 {
			begin = ends[w.Rank()-1]
		}
		if _, err := layer.Forward(ctx, part(x, begin, ends[w.Rank()])); err != nil {
			return nil, err
		}
		if _, err := layer.Backward(ctx, part(dy, begin, ends[w.Rank()])); err != nil {
			return nil, err
		}
	}
	return layer.Gradients(ctx)
}
