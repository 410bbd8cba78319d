package switchyard

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/routing"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// routersUnderTest are layers with the routers in which tokens do not choose for themselves, and
// with what stands around any router.
func routersUnderTest() map[string]Config {
	layer := func(r router.Router, experts int) Config {
		return Config{Dim: bitsDim, Experts: experts, Router: r, Expert: expert.SwiGLU{Hidden: 5}, Group: bitsGroup, Seed: 8}
	}
	topK := router.TopK{K: 2, Losses: []router.Loss{router.Balance(0.1), router.GlobalBalance(0.1), router.ZLoss(0.01)}}
	shared := layer(topK, 5)
	shared.Shared = expert.FFN{Hidden: 6, Activation: expert.GELU}
	groups := []router.ModalityGroup{{Name: "text", Experts: 3}, {Name: "image", Experts: 2}}
	return map[string]Config{
		"groups":         layer(router.ExpertChoice{}, 6),
		"capped":         layer(router.ExpertChoice{CapacityFactor: 1, Cap: 1}, 4),
		"wholeBatch":     layer(router.ExpertChoice{Over: router.WholeBatch}, 6),
		"wholeSigmoid":   layer(router.ExpertChoice{Over: router.WholeBatch, Score: router.Sigmoid, CapacityFactor: 1}, 3),
		"modality":       layer(router.Modality{Groups: groups, Aux: true, AuxCoefficient: 0.3}, 5),
		"modalityWhole":  layer(router.Modality{Groups: groups, Aux: true, Over: router.WholeBatch}, 5),
		"softMoE":        layer(router.SoftMoE{Slots: 1}, 6),
		"softMoESlots":   layer(router.SoftMoE{Slots: 5}, 2), // more slots than a group has tokens
		"shared":         shared,
		"balancedByBias": layer(router.TopK{K: 2, Score: router.Sigmoid, BiasRate: 0.01}, 5),
	}
}

// TestRoutersSameBits: as TestSameTokensSameBits, with padding and modalities, and with tokens that
// are alike so that experts that choose among all of them must break ties across ranks.
func TestRoutersSameBits(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(5, 6))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	side := router.Batch{Padding: make([]bool, bitsTokens), Modality: make([]int32, bitsTokens)}
	for i := range bitsTokens {
		side.Padding[i] = r.IntN(6) == 0 || i/bitsGroup == 3 // one group is nothing but padding
		side.Modality[i] = int32(r.IntN(2))
		if i%3 == 0 {
			copy(mat.Row(x, i), mat.Row(x, 0))
			side.Modality[i] = side.Modality[0]
		}
	}
	fewer := map[int][][]int{} // one way for each number of ranks, another for each layer
	for i, name := range slices.Sorted(maps.Keys(routersUnderTest())) {
		cfg := routersUnderTest()[name]
		for ranks, ways := range splits {
			fewer[ranks] = ways[i%len(ways):][:1]
		}
		want := checkSameBits(t, name, cfg, x, dy, side, fewer)
		for i, padding := range side.Padding {
			if padding {
				require.Equal(t, make([]float32, bitsDim), want.y[i*bitsDim:(i+1)*bitsDim])
				require.Equal(t, make([]float32, bitsDim), want.dx[i*bitsDim:(i+1)*bitsDim])
			}
		}
	}
}

// counted is a transport that counts the bytes sent to others.
type counted struct {
	transport.Transport
	bytes atomic.Uint64
}

func (c *counted) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	if to != c.Rank() {
		for _, b := range bufs {
			c.bytes.Add(uint64(len(b)))
		}
	}
	return c.Transport.Send(ctx, to, tag, bufs...)
}

func (c *counted) WireBytes() uint64 { return c.bytes.Load() }

// wireBytes runs do on ranks that have built a layer, and returns what each handed to others while
// in it.
func wireBytes(t *testing.T, ranks int, cfg Config, do func(l *Layer) error) []uint64 {
	bytes, worlds := make([]uint64, ranks), make([]*World, ranks)
	for r, tr := range inproc.New(ranks) {
		worlds[r] = NewWorld(&counted{Transport: tr})
	}
	for r, err := range onRanks(worlds, func(w *World) error {
		layer, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		before := w.WireBytes()
		err = do(layer)
		bytes[w.Rank()] = w.WireBytes() - before
		return err
	}) {
		require.NoError(t, err, "rank %d", r)
	}
	return bytes
}

// TestWholeBatchBytes measures the rounds of a choice over the whole batch against the formula in
// the comment of router.ExpertChoice, for batches of very different size.
func TestWholeBatchBytes(t *testing.T) {
	const experts, dim = 16, 8
	for _, ranks := range []int{1, 2, 3, 4, 8} {
		for _, tokens := range []int{4, 400} {
			for name, same := range map[string]bool{"different": false, "alike": true} {
				cfg := Config{Dim: dim, Experts: experts, Group: PerRank, Router: router.ExpertChoice{Over: router.WholeBatch}, Expert: expert.Identity{}}
				got := wireBytes(t, ranks, cfg, func(l *Layer) error {
					x := randomMatrix(rand.New(rand.NewPCG(7, uint64(l.world.Rank()))), tokens, dim)
					if same {
						clear(x.Data)
					}
					p, err := l.stages.Begin(x, router.Batch{}, true)
					if err != nil {
						return err
					}
					_, err = l.stages.Routing.Route(context.Background(), routing.Ranks{Comm: l.stages.Ranks.Everyone}, &p.Tokens, false)
					return err
				})
				each := 8 + 8 + 512*experts
				if same && ranks*tokens > 1 {
					each += 8 * ranks * experts // every expert breaks a tie
				}
				for _, bytes := range got {
					require.EqualValues(t, (ranks-1)*each, bytes, "%d ranks of %d tokens, %s", ranks, tokens, name)
				}
				t.Logf("%d ranks of %d tokens, %s: %d bytes a rank; all scores would be %d", ranks, tokens, name, got[0], (ranks-1)*tokens*experts*4)
			}
		}
	}
}

// TestWholeBatchIsWhatOneRankWouldChoose looks at the decisions themselves.
func TestWholeBatchIsWhatOneRankWouldChoose(t *testing.T) {
	const tokens, experts = 30, 4
	x := randomMatrix(rand.New(rand.NewPCG(8, 8)), tokens, 6)
	for i := range tokens {
		if i%2 == 0 {
			copy(mat.Row(x, i), mat.Row(x, 0))
		}
	}
	cfg := Config{Dim: 6, Experts: experts, Group: PerRank, Router: router.ExpertChoice{Over: router.WholeBatch, CapacityFactor: 1.5}, Expert: expert.Identity{}, Seed: 2}
	choices := func(ranks int) [][2]int {
		var mu sync.Mutex
		taken := map[[2]int]bool{}
		wireBytes(t, ranks, cfg, func(l *Layer) error {
			begin, end := int(l.world.Rank())*tokens/ranks, int(l.world.Rank()+1)*tokens/ranks
			p, err := l.stages.Begin(part(x, begin, end), router.Batch{}, true)
			if err != nil {
				return err
			}
			r, err := l.stages.Routing.Route(context.Background(), routing.Ranks{Comm: l.stages.Ranks.Everyone}, &p.Tokens, false)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for e := range experts {
				first, last := r.Decision.Of(router.ExpertID(e))
				for _, token := range r.Decision.Token[first:last] {
					taken[[2]int{e, begin + int(token)}] = true
				}
			}
			return nil
		})
		var list [][2]int
		for e := range experts {
			for token := range tokens {
				if taken[[2]int{e, token}] {
					list = append(list, [2]int{e, token})
				}
			}
		}
		return list
	}
	want := choices(1)
	require.Len(t, want, experts*11) // 30·1.5/4 = 11.25
	for _, ranks := range []int{2, 3, 4, 7, 8} {
		require.Equal(t, want, choices(ranks), "%d ranks", ranks)
	}
}

// TestARankThatCannotBeConsultedFailsAll: as for gates that decide alone, whatever the number of
// copies.
func TestARankThatCannotBeConsultedFailsAll(t *testing.T) {
	for _, parallel := range []int{4, 2, 1} {
		cfg := smallConfig()
		cfg.Router, cfg.ExpertParallel = router.ExpertChoice{Over: router.WholeBatch}, parallel
		x := randomMatrix(rand.New(rand.NewPCG(1, 1)), 4, cfg.Dim)
		errs := onRanks(inprocWorlds(4), func(w *World) error {
			layer, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			mine := randomMatrix(rand.New(rand.NewPCG(1, 1)), 4, cfg.Dim)
			if w.Rank() == 1 {
				mine.Data[2*cfg.Dim] = float32(math.Inf(1))
			}
			_, err = layer.Forward(context.Background(), mine)
			if _, again := layer.Forward(context.Background(), x); again != nil {
				return fmt.Errorf("the next batch failed: %w", again)
			}
			return err
		})
		for r, culprit := range culprits(errs) {
			require.Equal(t, transport.Rank(1), culprit, "rank %d, parallel %d: %v", r, parallel, errs[r])
			require.ErrorIs(t, errs[r], alltoall.ErrRefused, "rank %d, parallel %d", r, parallel)
		}
		require.ErrorContains(t, errs[1], "token 2")
	}
}

func TestStatsOfPaddingAndRounds(t *testing.T) {
	alone(t, func(w *World) {
		cfg := smallConfig()
		cfg.Router = router.ExpertChoice{Over: router.WholeBatch, CapacityFactor: 0.5}
		layer, err := NewLayer(w, cfg)
		require.NoError(t, err)
		x := randomMatrix(rand.New(rand.NewPCG(6, 6)), 9, 6)
		_, err = layer.EvalBatch(context.Background(), x, router.Batch{Padding: []bool{false, true, false, false, false, false, false, false, false}})
		require.NoError(t, err)
		s := layer.Stats()
		require.Equal(t, []int{9, 1, 9}, []int{s.Tokens, s.Padding, s.Rounds})
		require.Equal(t, []int{1, 1, 1, 1}, s.Choices) // 8·0.5/4
		require.GreaterOrEqual(t, s.Unanswered, 4)
		require.Less(t, s.Unanswered, 8)
		_, err = layer.ForwardBatch(context.Background(), x, router.Batch{Padding: []bool{true}})
		require.ErrorContains(t, err, "1 marks of padding for 9 tokens")
	})
}

func TestSoftMoEStats(t *testing.T) {
	alone(t, func(w *World) {
		cfg := smallConfig()
		cfg.Router = router.SoftMoE{Slots: 3}
		layer, err := NewLayer(w, cfg)
		require.NoError(t, err)
		_, err = layer.Eval(context.Background(), randomMatrix(rand.New(rand.NewPCG(6, 6)), 5, 6))
		require.NoError(t, err)
		require.Equal(t, []int{9, 9, 9, 9}, layer.Stats().Choices) // three groups
		require.Equal(t, []int{9, 9, 9, 9}, layer.Stats().Load)
		require.Zero(t, layer.Stats().Unanswered)
		_, err = layer.Eval(context.Background(), blas32.General{})
		require.NoError(t, err)
	})
}
