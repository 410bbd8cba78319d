package switchyard

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/router"
)

// fewer is all, or some of them under the race detector and in short tests.
func fewer[T any](all []T, some ...T) []T {
	if raced || testing.Short() {
		return some
	}
	return all
}

// TestAlgorithmsSameBits trains through every algorithm, on nodes of one to four, and compares with
// one rank.
func TestAlgorithmsSameBits(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for name, cfg := range layersUnderTest() {
		want := trainTwiceWith(t, inprocWorlds(1), cfg, x, dy, router.Batch{}, []int{bitsTokens})
		for _, ranks := range fewer([]int{2, 3, 4, 6, 7, 8}, 3, 8) {
			for _, each := range fewer([]int{1, 2, 3, 4}, 2, 3) {
				for _, a := range append(alltoall.Algorithms(), alltoall.Auto) {
					t.Run(fmt.Sprintf("%s/ranks=%d/each=%d/%s", name, ranks, each, a), func(t *testing.T) {
						cfg := cfg
						cfg.Algorithm, cfg.Topology = a, alltoall.Nodes(ranks, each)
						if a == alltoall.Auto {
							cfg.Links = links.Links{Within: links.Link{Alpha: 1000, Beta: 1}, Between: links.Link{Alpha: time.Duration(20000 * each), Beta: 8}}
						}
						requireSameBits(t, want, trainTwiceWith(t, inprocWorlds(ranks), cfg, x, dy, router.Batch{}, cutsOf(splits[ranks][each%len(splits[ranks])])))
					})
				}
			}
		}
	}
}
