package switchyard

import (
	"math/rand/v2"
	"testing"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/cpu"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
)

// TestSameBitsWithFewerInstructions: processors that have vectors of different widths, or none, can
// train together.
func TestSameBitsWithFewerInstructions(t *testing.T) {
	needExactProducts(t)
	const dim = 40 // vectors of sixteen and of eight elements
	r := rand.New(rand.NewPCG(5, 6))
	x, dy := randomMatrix(r, bitsTokens, dim), randomMatrix(r, bitsTokens, dim)
	topK := router.TopK{K: 2, Losses: []router.Loss{router.Balance(0.1), router.ZLoss(0.01)}}
	for name, cfg := range map[string]Config{
		"SwiGLU": {Expert: expert.SwiGLU{Hidden: 33}},
		"GELU":   {Expert: expert.FFN{Hidden: 33, Activation: expert.GELU}},
		"compressed": {
			Expert:      expert.SwiGLU{Hidden: 33},
			Compression: Compression{When: CompressAlways, LSH: lsh.Config{Rate: 0.5, Compensation: lsh.Interpolate}},
		},
		"narrow rows": {
			Expert: expert.SwiGLU{Hidden: 33},
			Wire:   alltoall.Wire{Dispatch: alltoall.FP8, Combine: alltoall.BF16},
		},
	} {
		cfg.Dim, cfg.Experts, cfg.Group, cfg.Seed, cfg.Router = dim, 8, bitsGroup, 3, topK
		train := func(t *testing.T) result {
			return trainTwiceWith(t, inprocWorlds(2), cfg, x, dy, router.Batch{}, []int{5 * bitsGroup, bitsTokens})
		}
		want := train(t)
		for instructions, features := range map[string]cpu.Features{
			"none": 0, "AVX2": cpu.AVX2 | cpu.FMA | cpu.PCLMULQDQ | cpu.VPCLMULQDQ,
		} {
			t.Run(name+"/"+instructions, func(t *testing.T) {
				defer cpu.Limit(features)()
				requireSameBits(t, want, train(t))
			})
		}
	}
}
