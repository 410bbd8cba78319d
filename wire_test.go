package switchyard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
)

// own is a format as a codec of the program.
type own struct{ alltoall.Format }

// codebook is one of centroids of rows.
func codebook(t *testing.T, rows blas32.General) alltoall.Codec {
	b, err := lsh.LearnCodebook(lsh.Residual{Bits: 3, Centroids: 5}, rows)
	require.NoError(t, err)
	return b
}

// TestWireSameBits: what is rounded on the wire is rounded alike on one rank, where nothing
// travels, and by every way of travelling.
func TestWireSameBits(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cfg := layersUnderTest()["dropless"]
	drawn := alltoall.Stochastic{Format: alltoall.MXFP4H, Seed: 1}
	all := []alltoall.Codec{alltoall.BF16, alltoall.FP16, alltoall.FP8, alltoall.Int8, alltoall.FP8Expanded, own{alltoall.FP8}, alltoall.NVFP4H, drawn, codebook(t, x)}
	for _, f := range fewer[alltoall.Codec](all, alltoall.BF16, own{alltoall.FP8}, drawn, all[len(all)-1]) {
		cfg.Wire = alltoall.Everywhere(f)
		want := trainTwiceWith(t, inprocWorlds(1), cfg, x, dy, router.Batch{}, []int{bitsTokens})
		for _, ranks := range fewer([]int{2, 4}, 2) {
			for _, a := range []alltoall.Algorithm{alltoall.Direct, alltoall.Rails, alltoall.Bruck} {
				for _, degree := range []int{1, 2} {
					t.Run(fmt.Sprintf("%s/ranks=%d/%s/degree=%d", f, ranks, a, degree), func(t *testing.T) {
						cfg := cfg
						cfg.Algorithm, cfg.Topology, cfg.Overlap.Degree = a, alltoall.Nodes(ranks, 2), degree
						requireSameBits(t, want, trainTwiceWith(t, inprocWorlds(ranks), cfg, x, dy, router.Batch{}, cutsOf(splits[ranks][0])))
						if ranks == 2 {
							requireSameBits(t, want, trainTwiceWith(t, tcpWorlds(t, ranks), cfg, x, dy, router.Batch{}, cutsOf(splits[ranks][0])))
						}
					})
				}
			}
		}
	}
}

// TestWireRoundsALittle: answers differ from those of float32 by about what the format leaves out,
// leg by leg.
func TestWireRoundsALittle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	x := randomMatrix(r, bitsTokens, bitsDim)
	forward := func(w alltoall.Wire) (y []float32) {
		cfg := layersUnderTest()["dropless"]
		cfg.Wire = w
		for _, err := range onRanks(inprocWorlds(1), func(world *World) error {
			l, err := NewLayer(world, cfg)
			if err != nil {
				return err
			}
			m, err := l.Eval(t.Context(), x)
			y = append(y, m.Data...)
			return err
		}) {
			require.NoError(t, err)
		}
		return y
	}
	want := forward(alltoall.Wire{})
	for w, most := range map[alltoall.Wire]float64{
		{Combine: alltoall.BF16}: 1. / 256, {Dispatch: alltoall.BF16}: 1. / 64, {Combine: alltoall.FP8}: 1. / 8, {DispatchBack: alltoall.Int8, CombineBack: alltoall.FP8}: 0,
	} {
		off, all := 0., 0.
		for i, v := range forward(w) {
			off += math.Pow(float64(v-want[i]), 2)
			all += math.Pow(float64(want[i]), 2)
		}
		off = math.Sqrt(off / all)
		require.LessOrEqual(t, off, most, "%v", w)
		require.Equal(t, most > 0, off > 0, "%v", w)
	}
}

func TestWireIsValidated(t *testing.T) {
	cfg := layersUnderTest()["dropless"]
	cfg.Wire.Combine = alltoall.Format(77)
	require.ErrorContains(t, cfg.Validate(1), "Format(77)")
}

// TestWireOfTheWayBack: each leg of the backward pass rounds by its own format. That of the
// answers' gradients reaches experts and inputs, that of the rows' gradients inputs alone, and
// neither the answers.
func TestWireOfTheWayBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	pass := func(w alltoall.Wire) (out [3][]float32) {
		cfg := layersUnderTest()["dropless"]
		cfg.Wire = w
		for _, err := range onRanks(inprocWorlds(1), func(world *World) error {
			l, err := NewLayer(world, cfg)
			if err != nil {
				return err
			}
			y, err := l.Forward(t.Context(), x)
			if err != nil {
				return err
			}
			out[0] = append(out[0], y.Data...)
			dx, err := l.Backward(t.Context(), dy)
			if err != nil {
				return err
			}
			out[1] = append(out[1], dx.Data...)
			list, err := l.Gradients(t.Context())
			for _, g := range list {
				out[2] = append(out[2], g.Data...)
			}
			return err
		}) {
			require.NoError(t, err)
		}
		return out
	}
	exact := pass(alltoall.Wire{})
	for w, reaches := range map[alltoall.Wire][3]bool{
		{DispatchBack: alltoall.BF16}: {false, true, true},
		{CombineBack: alltoall.BF16}:  {false, true, false},
	} {
		got := pass(w)
		for i, what := range []string{"answers", "inputs' gradients", "parameters' gradients"} {
			off, all := 0., 0.
			for k, v := range got[i] {
				off += math.Pow(float64(v-exact[i][k]), 2)
				all += math.Pow(float64(exact[i][k]), 2)
			}
			require.Equal(t, reaches[i], off > 0, "%v: %s", w, what)
			require.Less(t, math.Sqrt(off/all), 1./64, "%v: %s", w, what)
		}
	}
}
