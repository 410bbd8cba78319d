package router

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPrototypesReference compares with the reference, whose softmax goes over each run of experts.
func TestPrototypesReference(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, k := range []int{1, 2, 3, 6} {
		for renorm := range Renormalize(renormalizes) {
			config := Prototypes{K: k, Renormalize: renorm, Scale: 1.5, CapacityFactor: 1, Losses: allLosses()}
			t.Run(fmt.Sprintf("k=%d/%v", k, renorm), func(t *testing.T) {
				size := 6 / k
				ref := &reference{TopK: config.topK(), run: size}
				ref.choose = func(logits []float64) (chosen []int) {
					for a := 0; a < 6; a += size {
						chosen = append(chosen, a+descending(logits[a : a+size])[0])
					}
					return chosen
				}
				checkRouter(t, r, config, ref)
			})
		}
	}
	_, err := Prototypes{K: 3}.New(Shape{Dim: 2, Experts: 4})
	require.ErrorContains(t, err, "3 prototypes do not divide 4 experts")
}
