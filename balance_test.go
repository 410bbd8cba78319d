package switchyard

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/hook"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// anyRuns is a planner that shares out experts at random, by the loads alone.
type anyRuns struct{ seed uint64 }

func (a anyRuns) String() string { return fmt.Sprintf("any runs of seed %d", a.seed) }

func (a anyRuns) Plan(p *balance.Problem) (list alltoall.Allocation) {
	loads, leaves, sum := p.Loads, p.Loads.TotalLeaves(), a.seed
	for i, n := range loads.Rows {
		sum += uint64(n) * uint64(i+1)
	}
	r := rand.New(rand.NewPCG(sum, 9))
	slots := make([]int, loads.Placement.Ranks())
	for e := range loads.Placement.Experts() {
		if leaves == 0 || r.IntN(4) == 0 {
			continue
		}
		begun, first := len(list), 0
		for _, rank := range r.Perm(len(slots)) {
			if rank != loads.Placement.Home(e) {
				if slots[rank] == p.Limits.Slots {
					continue
				}
				slots[rank]++
			}
			end := first + 1 + r.IntN(leaves-first)
			list = append(list, alltoall.Run{Expert: e, Rank: rank, First: first, End: end})
			if first = end; first == leaves {
				break
			}
		}
		if len(list) > begun {
			list[len(list)-1].End = leaves
		}
	}
	return list
}

// sharedOut has experts shared out at random.
func sharedOut(seed uint64) balance.Config {
	return balance.Config{When: balance.Always, Slots: 3, Planner: func() balance.Planner { return anyRuns{seed} }}
}

// TestBalanceSameBits trains with experts shared out at random, and compares with one rank that
// computes all: in chunks by experts and by ranks, with copies, and formats of rows.
func TestBalanceSameBits(t *testing.T) {
	eachReference(t, func(name string, cfg Config, x, dy blas32.General, want result, r *rand.Rand) {
		for _, ranks := range fewer([]int{1, 2, 3, 4, 8}, 2, 4) {
			checkBalanced(t, name, cfg, x, dy, want, ranks, r.Uint64())
		}
	})
}

// eachReference calls check for layers under test and formats of rows, with a batch and what one
// rank makes of it.
func eachReference(t *testing.T, check func(name string, cfg Config, x, dy blas32.General, want result, r *rand.Rand)) {
	t.Helper()
	needExactProducts(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	layers := layersUnderTest()
	for _, name := range fewer(slices.Collect(maps.Keys(layers)), "dropless", "drops") {
		for _, wire := range fewer([]alltoall.Wire{{}, alltoall.Everywhere(alltoall.BF16)}, alltoall.Wire{}) {
			cfg := layers[name]
			cfg.Wire = wire
			want := trainTwiceWith(t, inprocWorlds(1), cfg, x, dy, router.Batch{}, []int{bitsTokens})
			check(name, cfg, x, dy, want, r)
		}
	}
}

// checkBalanced compares each way to share the experts of a layer out on a number of ranks.
func checkBalanced(t *testing.T, name string, cfg Config, x, dy blas32.General, want result, ranks int, seed uint64) {
	t.Helper()
	cfg.Balance = sharedOut(seed)
	for parallel := 1; parallel <= ranks; parallel++ {
		if ranks%parallel != 0 {
			continue
		}
		for _, degree := range []int{0, 2, 4} {
			cfg := cfg
			cfg.ExpertParallel, cfg.Overlap.Degree = parallel, degree
			ways := splits[ranks]
			t.Run(fmt.Sprintf("%s/%v/ranks=%d/parallel=%d/degree=%d", name, cfg.Wire.Legs()[0], ranks, parallel, degree), func(t *testing.T) {
				requireSameBits(t, want, trainTwiceWith(t, inprocWorlds(ranks), cfg, x, dy, router.Batch{}, cutsOf(ways[degree/2%len(ways)])))
			})
		}
	}
}

// TestBalanceWithPassesInFlight: in any order, recomputed, on goroutines of their own.
func TestBalanceWithPassesInFlight(t *testing.T) {
	needExactProducts(t)
	cfg := layersUnderTest()["dropless"]
	cfg.MicroBatches = perStep
	want := leftOn(t, inprocWorlds(3), func(w *World) (left, error) { return trainByMarks(t.Context(), w, cfg, oneByOne) })
	cfg.Balance = sharedOut(rand.Uint64())
	for order, marks := range map[string][]string{"one by one": oneByOne, "1F1B": oneFOneB, "other order": backwards, "recomputation": recomputed} {
		require.Equal(t, want, leftOn(t, inprocWorlds(3), func(w *World) (left, error) { return trainByMarks(t.Context(), w, cfg, marks) }), order)
	}
	for _, degree := range []int{0, 2} {
		cfg.Overlap.Degree = degree
		require.Equal(t, want, leftOn(t, inprocWorlds(3), func(w *World) (left, error) {
			return trainAtOnce(t.Context(), w, cfg, 3, rand.New(rand.NewPCG(uint64(w.Rank()), 4)))
		}))
	}
}

// mixedSteps trains with several batches a step of Forward and Backward of the layer, with
// evaluations between, and one batch given up; and returns all results.
func mixedSteps(ctx context.Context, w *World, cfg Config, frozen ...param.Kind) (list [][]float32, err error) {
	l, err := NewLayer(w, cfg)
	if err != nil {
		return nil, err
	}
	if err := l.SetFrozen(ctx, frozen...); err != nil {
		return nil, err
	}
	note := func(m blas32.General, failed error) {
		list = append(list, slices.Clone(m.Data))
		if err == nil {
			err = failed
		}
	}
	for step := range uint64(2) {
		b := batchesOf(w, step)
		note(l.Forward(ctx, b.x[3]))
		note(blas32.General{}, l.Discard())
		for m := range 3 {
			note(l.Forward(ctx, b.x[m/2]))
			note(l.Eval(ctx, b.x[m]))
			note(l.Backward(ctx, b.dy[m]))
		}
		note(blas32.General{}, l.Step(ctx, expert.NewAdam(0.1)))
		note(l.Eval(ctx, b.x[0]))
		note(l.Eval(ctx, b.x[0]))
	}
	tensors, failed := l.Parameters(ctx)
	note(blas32.General{}, failed)
	for _, tensor := range tensors {
		list = append(list, tensor.Data)
	}
	return list, err
}

// TestBalanceBetweenSteps: evaluations, batches that are given up, several batches a step, which
// repeat what was shared out, and experts that are frozen.
func TestBalanceBetweenSteps(t *testing.T) {
	needExactProducts(t)
	for _, frozen := range [][]param.Kind{nil, {param.Expert}} {
		var of [2][3][][]float32
		for i := range of {
			cfg := layersUnderTest()["dropless"]
			cfg.MicroBatches = 3
			if i == 1 {
				cfg.Balance = sharedOut(rand.Uint64())
			}
			for _, err := range onRanks(inprocWorlds(3), func(w *World) (err error) {
				of[i][w.Rank()], err = mixedSteps(t.Context(), w, cfg, frozen...)
				return err
			}) {
				require.NoError(t, err)
			}
		}
		require.Equal(t, of[0], of[1], "frozen: %v", frozen)
	}
}

// onHot is a layer of three ranks all of whose tokens choose one expert.
func onHot() Config {
	cfg := layersUnderTest()["oneExpertForAll"]
	cfg.Balance = balance.Config{When: balance.Always, Planner: func() balance.Planner { return inParts{} }}
	return cfg
}

// inParts is a planner that gives each rank as many leaves of each expert that has rows, none of
// them its own.
type inParts struct{}

func (inParts) String() string { return "in parts" }

func (inParts) Plan(p *balance.Problem) (list alltoall.Allocation) {
	leaves, ranks := p.Loads.TotalLeaves(), len(p.Loads.Leaves)
	for e := range p.Loads.Placement.Experts() {
		if p.Loads.Of(e, 0, leaves) == 0 {
			continue
		}
		for r := range ranks {
			list = append(list, alltoall.Run{Expert: e, Rank: (r + 1) % ranks, First: leaves * r / ranks, End: leaves * (r + 1) / ranks})
		}
	}
	return list
}

// TestBalanceEvensAHotExpert: its rows are spread over the ranks, and Stats say so. Its parameters
// travel once while they stay as they are.
func TestBalanceEvensAHotExpert(t *testing.T) {
	for _, err := range onRanks(inprocWorlds(3), func(w *World) error {
		ctx := t.Context()
		l, err := NewLayer(w, onHot())
		require.NoError(t, err)
		b := batchesOf(w, 1)
		var sent [3]uint64
		for i := range sent {
			if i == 2 {
				_, err := l.Forward(ctx, b.x[0])
				require.NoError(t, err)
				_, err = l.Backward(ctx, b.dy[0])
				require.NoError(t, err)
				require.NoError(t, l.Step(ctx, expert.NewSGD(0.1)))
			}
			before := w.WireBytes()
			_, err := l.Eval(ctx, b.x[0])
			require.NoError(t, err)
			sent[i] = w.WireBytes() - before
		}
		s := l.Stats().Balance
		require.Equal(t, 1, s.Experts)
		require.Equal(t, 2, s.Copies)
		require.InDelta(t, 3, s.RowsBefore, 1e-9)
		require.Less(t, s.RowsAfter, 1.3)
		parameters := uint64(2 * (4*(2*bitsDim*7+7+bitsDim) + 8)) // with their version
		if w.Rank() == 2 {                                        // which hosts expert 4
			require.Equal(t, sent[0], sent[1]+parameters)
			require.Equal(t, sent[0], sent[2])
			load := l.Stats().Load
			require.Equal(t, 40, load[0], "%v", load)
		} else {
			require.Equal(t, sent[0], sent[1])
		}
		return nil
	}) {
		require.NoError(t, err)
	}
}

// TestBalanceOfAnEvenLoadSendsNoMessageMore, whether the planner decides or the gate before it.
func TestBalanceOfAnEvenLoadSendsNoMessageMore(t *testing.T) {
	sent := func(how balance.Config, steps int) (n int64) {
		var worlds []*World
		var counters []*messages
		for _, end := range inproc.New(3) {
			m := &messages{Transport: end}
			counters, worlds = append(counters, m), append(worlds, NewWorld(m))
		}
		cfg := layersUnderTest()["everyExpert"]
		cfg.Balance = how
		x := randomMatrix(rand.New(rand.NewPCG(1, 1)), bitsTokens, bitsDim)
		before := make([]int64, 3)
		for _, err := range onRanks(worlds, func(w *World) error {
			l, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			before[w.Rank()] = counters[w.Rank()].sent.Load()
			mine := cutOf(w, [2]blas32.General{x, x})
			for range steps {
				if _, err := l.Forward(t.Context(), mine[0]); err != nil {
					return err
				}
				if _, err := l.Backward(t.Context(), mine[1]); err != nil {
					return err
				}
				if err := l.Step(t.Context(), expert.NewSGD(0.1)); err != nil {
					return err
				}
			}
			return nil
		}) {
			require.NoError(t, err)
		}
		for r, c := range counters {
			n += c.sent.Load() - before[r]
		}
		return n
	}
	plain := balance.Config{When: balance.Always, Planner: func() balance.Planner { return balance.Plain{} }}
	require.Equal(t, sent(balance.Config{}, 3), sent(plain, 3))
	require.Equal(t, sent(balance.Config{}, 1), sent(balance.Config{When: balance.Auto}, 1), "in a step of which no time is known")
}

// TestAutoLearnsWhatRowsTake in training and evaluation, in chunks and in one.
func TestAutoLearnsWhatRowsTake(t *testing.T) {
	for _, degree := range []int{0, 2} {
		for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
			cfg := layersUnderTest()["everyExpert"]
			cfg.Overlap.Degree, cfg.Balance.When = degree, balance.Auto
			l, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			takes := func(train bool) int64 { return l.stages.Balance.Begin(99, train).RowTime() }
			x := randomMatrix(rand.New(rand.NewPCG(1, 1)), 4, bitsDim)
			for range 2 { // the second releases what the first has kept
				if _, err := l.Forward(t.Context(), x); err != nil {
					return err
				}
				if _, err := l.Backward(t.Context(), x); err != nil {
					return err
				}
				if err := l.Step(t.Context(), expert.NewSGD(0.1)); err != nil {
					return err
				}
			}
			require.Positive(t, takes(true))
			require.Zero(t, takes(false))
			for range 2 {
				if _, err := l.Eval(t.Context(), x); err != nil {
					return err
				}
			}
			require.Positive(t, takes(false))
			return nil
		}) {
			require.NoError(t, err, "degree %d, rank %d", degree, rank)
		}
	}
}

// noting is experts that note of which groups the gradients of weights are computed.
type noting struct {
	expert.Expert
	order *[]string
}

func (noting) String() string { return "noting" }

func (n noting) New(s expert.Shape) (expert.Group, error) {
	g, err := n.Expert.New(s)
	return notingGroup{g.(expert.SplitBackward), n.order}, err
}

type notingGroup struct {
	expert.SplitBackward
	order *[]string
}

func (g notingGroup) BackwardWeights(saved expert.Saved) {
	what := "hosted"
	if g.Params().Tensors()[0].Shape[0] == 1 {
		what = "run"
	}
	*g.order = append(*g.order, what)
	g.SplitBackward.BackwardWeights(saved)
}

// TestGradientsOfRunsComeFirst, so that they travel home while a helper computes those of its own
// experts.
func TestGradientsOfRunsComeFirst(t *testing.T) {
	for rank, err := range onRanks(inprocWorlds(3), func(w *World) error {
		var order []string
		cfg := onHot()
		cfg.Expert = noting{cfg.Expert, &order}
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		b := batchesOf(w, 1)
		if _, err := l.Forward(t.Context(), b.x[0]); err != nil {
			return err
		}
		_, err = l.Backward(t.Context(), b.dy[0])
		require.Equal(t, []string{"run", "hosted"}, order)
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestBalanceWithClusters: rows after clustering are what is shared out, with the bits of the layer
// that does not share.
func TestBalanceWithClusters(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cuts := cutsOf(splits[4][0])
	cfg := layersUnderTest()["dropless"]
	for _, c := range []Compression{{ClusterGradients: true}, {}, {Nodes: true}} {
		for _, degree := range []int{0, 2} {
			cfg.Compression, cfg.Overlap.Degree, cfg.Balance = c, degree, balance.Config{}
			cfg.Compression.When = CompressAlways
			want := trainTwice(t, inprocWorlds(4), cfg, x, dy, cuts)
			cfg.Balance = sharedOut(rand.Uint64())
			requireSameBits(t, want, trainTwice(t, inprocWorlds(4), cfg, x, dy, cuts))
		}
	}
}

// TestBalanceWithHooks, which know the expert of each row, and checks of all numbers.
func TestBalanceWithHooks(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cfg := layersUnderTest()["dropless"]
	cfg.Wire.Finite, cfg.Algorithm = true, alltoall.Dedup
	cfg.Hooks = everyHook(func(string) hook.Func {
		return func(_ context.Context, c hook.Call, m blas32.General) error {
			first := 0
			for i, end := range c.Ends {
				f32.Scale(m.Data[first*m.Stride:end*m.Stride], 1+float32(c.Expert+i)/64)
				first = end
			}
			return nil
		}
	})
	want := trainTwice(t, inprocWorlds(1), cfg, x, dy, []int{bitsTokens})
	cfg.Balance = sharedOut(rand.Uint64())
	for _, degree := range []int{0, 2, 4} {
		cfg.Overlap.Degree = degree
		requireSameBits(t, want, trainTwice(t, inprocWorlds(4), cfg, x, dy, cutsOf(splits[4][0])))
	}
}
