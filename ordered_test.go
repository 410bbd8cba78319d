package switchyard

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/hook"
	"github.com/switchyard-moe/switchyard/router"
)

// anyOrder puts the experts of a layer on its ranks at random, as many on each as it happens.
func anyOrder(r *rand.Rand, cfg *Config, ranks int) {
	cfg.Order, cfg.Hosted = r.Perm(cfg.Experts), make([]int, ranks)
	for range cfg.Experts {
		cfg.Hosted[r.IntN(ranks)]++
	}
}

// TestOrderSameBits trains with any expert on any rank, and compares with one rank that has all: in
// chunks by experts and by ranks, with copies, formats of rows, and experts shared out.
func TestOrderSameBits(t *testing.T) {
	eachReference(t, func(name string, cfg Config, x, dy blas32.General, want result, r *rand.Rand) {
		if _, mixes := cfg.Router.(router.SoftMoE); mixes {
			return // mixtures have no order of experts
		}
		for _, ranks := range fewer([]int{1, 2, 3, 4, 8}, 1, 4) {
			checkOrdered(t, name, cfg, x, dy, want, ranks, r)
		}
	})
}

// checkOrdered compares random orders of a layer's experts on a number of ranks.
func checkOrdered(t *testing.T, name string, cfg Config, x, dy blas32.General, want result, ranks int, r *rand.Rand) {
	t.Helper()
	for parallel := 1; parallel <= ranks; parallel++ {
		for i, shared := range []balance.Config{{}, sharedOut(r.Uint64()), {}} {
			if ranks%parallel != 0 {
				continue
			}
			cfg, ways := cfg, splits[ranks]
			cfg.ExpertParallel, cfg.Balance, cfg.Overlap.Degree = parallel, shared, 2*i
			anyOrder(r, &cfg, parallel)
			t.Run(fmt.Sprintf("%s/%v/ranks=%d/parallel=%d/degree=%d/order=%v/%v", name, cfg.Wire.Legs()[0], ranks, parallel, 2*i, cfg.Order, cfg.Hosted), func(t *testing.T) {
				requireSameBits(t, want, trainTwiceWith(t, inprocWorlds(ranks), cfg, x, dy, router.Batch{}, cutsOf(ways[i%len(ways)])))
			})
		}
	}
}

// TestOrderWithPassesInFlight: in any order, recomputed, on goroutines of their own.
func TestOrderWithPassesInFlight(t *testing.T) {
	needExactProducts(t)
	cfg := layersUnderTest()["dropless"]
	cfg.MicroBatches = perStep
	want := leftOn(t, inprocWorlds(3), func(w *World) (left, error) { return trainByMarks(t.Context(), w, cfg, oneByOne) })
	anyOrder(rand.New(rand.NewPCG(rand.Uint64(), 0)), &cfg, 3)
	for order, marks := range map[string][]string{"1F1B": oneFOneB, "other order": backwards, "recomputation": recomputed} {
		require.Equal(t, want, leftOn(t, inprocWorlds(3), func(w *World) (left, error) { return trainByMarks(t.Context(), w, cfg, marks) }), order)
	}
	require.Equal(t, want, leftOn(t, inprocWorlds(3), func(w *World) (left, error) {
		return trainAtOnce(t.Context(), w, cfg, 3, rand.New(rand.NewPCG(uint64(w.Rank()), 4)))
	}))
}

// TestHooksSeeNumbersOfExperts and not where they stand: each expert gets the same rows.
func TestHooksSeeNumbersOfExperts(t *testing.T) {
	cfg := layersUnderTest()["dropless"]
	seen := func(cfg Config) map[int]int {
		var mu sync.Mutex
		rows := map[int]int{}
		note := func(_ context.Context, call hook.Call, m blas32.General) error {
			mu.Lock()
			defer mu.Unlock()
			begin := 0
			for i, end := range call.Ends {
				rows[call.Expert+i] += end - begin
				begin = end
			}
			if begin != m.Rows {
				return fmt.Errorf("ends %v of %d rows", call.Ends, m.Rows)
			}
			return nil
		}
		cfg.Hooks.Forward = hook.Points{BeforeDispatch: note, AfterDispatch: note, BeforeCombine: note, AfterCombine: note}
		x := randomMatrix(rand.New(rand.NewPCG(1, 5)), bitsTokens, bitsDim)
		for _, err := range onRanks(inprocWorlds(2), func(w *World) error {
			l, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			_, err = l.Forward(t.Context(), x)
			return err
		}) {
			require.NoError(t, err)
		}
		maps.DeleteFunc(rows, func(_, n int) bool { return n == 0 })
		return rows
	}
	want := seen(cfg)
	require.NotEmpty(t, want)
	anyOrder(rand.New(rand.NewPCG(rand.Uint64(), 0)), &cfg, 2)
	require.Equal(t, want, seen(cfg))
}

// TestOrderIsValidated and agreed on.
func TestOrderIsValidated(t *testing.T) {
	for text, change := range map[string]func(c *Config){
		"Config.Order has 1 experts, want each of the":   func(c *Config) { c.Order = []int{0} },
		"Config.Order[1] is 0, want each of the":         func(c *Config) { c.Order = make([]int, c.Experts) },
		"Config.Order does not go with Compression":      func(c *Config) { c.Order, c.Compression.When = []int{0}, CompressAlways },
		"Config.Order does not go with Sums":             func(c *Config) { c.Order, c.Sums = []int{0}, alltoall.Int4 },
		"Config.Order does not go with Config.Router, w": func(c *Config) { c.Order, c.Router = rand.Perm(c.Experts), router.SoftMoE{Slots: 1} },
	} {
		cfg := layersUnderTest()["dropless"]
		change(&cfg)
		for _, err := range onRanks(inprocWorlds(1), func(w *World) error {
			_, err := NewLayer(w, cfg)
			return err
		}) {
			require.ErrorContains(t, err, text)
		}
	}
	for _, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := layersUnderTest()["dropless"]
		if w.Rank() == 1 {
			cfg.Order = []int{1, 0}
			for e := 2; e < cfg.Experts; e++ {
				cfg.Order = append(cfg.Order, e)
			}
		}
		_, err := NewLayer(w, cfg)
		return err
	}) {
		require.ErrorContains(t, err, "Hosted")
	}
}
