package switchyard

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// stepLog is an optimizer that notes the kinds of the sets that it is given.
type stepLog struct {
	*expert.Adam
	kinds []param.Kind
}

func (o *stepLog) Update(p *param.Set, grad []float32) {
	o.kinds = append(o.kinds, p.Kind)
	o.Adam.Update(p, grad)
}

// frozenStep is what one step with frozen parameters leaves.
type frozenStep struct {
	dx            [3][]float32
	gradients     []Tensor
	before, after []Tensor
	norm          float64
	updated       []param.Kind
	sent          uint64 // by Step
}

// trainFrozen takes a step of three passes, one of which the test holds, then freezes kinds, and
// takes another, which it returns.
func trainFrozen(ctx context.Context, w *World, cfg Config, kinds []param.Kind) (s frozenStep, err error) {
	l, err := NewLayer(w, cfg)
	if err != nil {
		return s, err
	}
	r := rand.New(rand.NewPCG(8, 8))
	o := &stepLog{Adam: expert.NewAdam(0.01)}
	for step := range 2 {
		if step == 1 {
			if err = l.SetFrozen(ctx, kinds...); err != nil {
				return s, err
			}
			checkNoMemory([]*Layer{l}, kinds)
		}
		for i, of := range []forwarder{l, &heldPasses{Layer: l}, l} {
			mine := cutOf(w, [2]blas32.General{randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)})
			if _, err = of.ForwardBatch(ctx, mine[0], router.Batch{}); err != nil {
				return s, err
			}
			dx, err := of.Backward(ctx, mine[1])
			if err != nil {
				return s, err
			}
			s.dx[i] = append([]float32(nil), dx.Data...)
		}
		if s.gradients, err = l.Gradients(ctx); err != nil {
			return s, err
		}
		if s.norm, err = l.GradNorm(ctx); err != nil {
			return s, err
		}
		if s.before, err = l.Parameters(ctx); err != nil {
			return s, err
		}
		o.kinds, s.sent = []param.Kind{}, w.WireBytes()
		if err = l.Step(ctx, o); err != nil {
			return s, err
		}
		s.updated, s.sent = o.kinds, w.WireBytes()-s.sent
	}
	checkNoMemory([]*Layer{l}, kinds)
	s.after, err = l.Parameters(ctx)
	return s, err
}

// checkNoMemory panics if a frozen set of the layers holds memory for gradients.
func checkNoMemory(layers []*Layer, kinds []param.Kind) {
	for _, l := range layers {
		sets, sums := l.table.Sets(), l.stages.Gradients.Sums()
		all := append([]*param.Set{sets.Gate, sets.Shared, sets.Gains}, sets.Experts...)
		vectors := append([][]float32{sums.Gate, sums.Shared, sums.Gains}, sums.Experts...)
		if slices.Contains(kinds, param.Gate) {
			all, vectors = append(all, l.stages.Gradients.Losses(0)), append(vectors, nil)
		}
		for i, set := range all {
			if set == nil || !set.Frozen {
				continue
			}
			if vectors[i] != nil || fmt.Sprint(set.Grad) != fmt.Sprint(tree.NewSum(len(set.Value))) {
				panic(fmt.Sprintf("the frozen %v has memory for gradients: %v, %v", set.Kind, set.Grad, vectors[i]))
			}
		}
	}
}

// onAll runs trainFrozen on every rank.
func onAll(t *testing.T, ranks int, cfg Config, kinds []param.Kind) []frozenStep {
	t.Helper()
	steps := make([]frozenStep, ranks)
	for rank, err := range onRanks(inprocWorlds(ranks), func(w *World) (err error) {
		steps[w.Rank()], err = trainFrozen(t.Context(), w, cfg, kinds)
		return err
	}) {
		require.NoError(t, err, "rank %d of %d, %v", rank, ranks, kinds)
	}
	return steps
}

// frozenKinds are the lists of kinds that tests freeze.
func frozenKinds() [][]param.Kind {
	all := []param.Kind{param.Gate, param.Expert, param.Shared, param.Gain}
	return fewer([][]param.Kind{
		{param.Gate}, {param.Expert}, {param.Shared}, {param.Gain}, {param.Expert, param.Gate},
		{param.Shared, param.Gain, param.Expert}, all,
	}, []param.Kind{param.Gate, param.Gain}, all)
}

// TestFrozenParametersStay, the gradients of all others and of the tokens have the bits that they
// have without, and nothing counts or updates those that are frozen.
func TestFrozenParametersStay(t *testing.T) {
	needExactProducts(t)
	compressed := normLayer()
	compressed.Compression = Compression{When: CompressAlways, LSH: lsh.Config{Rate: 0.5, Compensation: lsh.LearnedGain}}
	for name, cfg := range map[string]Config{"plain": normLayer(), "compressed": compressed, "defiant": defiantLayer()} {
		t.Run(name, func(t *testing.T) {
			free := onAll(t, 2, cfg, nil)
			for _, kinds := range frozenKinds() {
				for rank, got := range onAll(t, 2, cfg, kinds) {
					checkFrozenStep(t, free[rank], got, kinds)
				}
			}
		})
	}
}

func checkFrozenStep(t *testing.T, free, got frozenStep, kinds []param.Kind) {
	t.Helper()
	frozen := func(kind param.Kind) bool { return slices.Contains(kinds, kind) }
	require.Equal(t, free.dx, got.dx, "%v", kinds)
	require.Equal(t, free.before, got.before)
	want := slices.DeleteFunc(slices.Clone(free.gradients), func(t Tensor) bool { return frozen(t.Kind) })
	require.Equal(t, len(want), len(got.gradients), "%v", kinds)
	squares := 0.0
	for i := range want {
		require.Equal(t, want[i], got.gradients[i], "%v", kinds)
		for _, v := range want[i].Data {
			squares += float64(v) * float64(v)
		}
	}
	require.InDelta(t, math.Sqrt(squares), got.norm, 1e-9*got.norm)
	for i, tensor := range got.after {
		if frozen(tensor.Kind) {
			require.Equal(t, got.before[i], tensor, "%v", kinds)
		} else {
			require.Equal(t, free.after[i], tensor, "%v", kinds)
		}
	}
	require.Equal(t, slices.DeleteFunc(slices.Clone(free.updated), frozen), got.updated, "%v", kinds)
}

// TestFrozenParametersHaveTheSameBits on any number of ranks and copies.
func TestFrozenParametersHaveTheSameBits(t *testing.T) {
	needExactProducts(t)
	for _, kinds := range frozenKinds() {
		want := onAll(t, 1, normLayer(), kinds)[0]
		for _, of := range fewer([][2]int{{2, 1}, {3, 3}, {4, 2}, {8, 8}}, [2]int{3, 3}, [2]int{4, 2}) {
			cfg := normLayer()
			cfg.ExpertParallel = of[1]
			for _, got := range onAll(t, of[0], cfg, kinds) {
				require.Equal(t, want.norm, got.norm)
				require.Equal(t, want.gradients, got.gradients)
				require.Equal(t, want.after, got.after)
			}
		}
	}
}

// TestFrozenParametersAreNotSent: a step of which all is frozen sends what the ranks agree on
// before it, 9 bytes; and a frozen set saves its two thirds of a sum.
func TestFrozenParametersAreNotSent(t *testing.T) {
	cfg := normLayer()
	cfg.ExpertParallel = 1
	step := func(kinds ...param.Kind) uint64 {
		var sent uint64
		for rank, err := range onRanks(inprocWorlds(3), func(w *World) error {
			l, err := NewLayer(w, cfg)
			require.NoError(t, err)
			require.NoError(t, l.SetFrozen(t.Context(), kinds...))
			r := rand.New(rand.NewPCG(8, 8))
			x := randomMatrix(r, 3*bitsGroup, bitsDim)
			require.NoError(t, passOver(t.Context(), w, l, spread3(x), spread3(x)))
			before := w.WireBytes()
			err = l.Step(t.Context(), expert.NewSGD(0.1))
			if w.Rank() == 0 {
				sent = w.WireBytes() - before
			}
			return err
		}) {
			require.NoError(t, err, "rank %d", rank)
		}
		return sent
	}
	none := step(param.Gate, param.Expert, param.Shared)
	require.EqualValues(t, 9*2, none)
	experts, all := step(param.Gate, param.Shared), step()
	without := step(param.Expert)
	require.Equal(t, all-without, experts-none, "what the experts' sums send")
	const elements = 7 * 3 * 5 * bitsDim
	require.Greater(t, experts-none, uint64(elements*4), "a reduce-scatter and an all-gather")
}

// spread3 repeats a batch so that micros gives each of three ranks some groups of it.
func spread3(m blas32.General) blas32.General {
	whole := blas32.General{Rows: bitsTokens, Cols: m.Cols, Stride: m.Cols, Data: make([]float32, bitsTokens*m.Cols)}
	for i := range whole.Data {
		whole.Data[i] = m.Data[i%len(m.Data)]
	}
	return whole
}

// defiantLayer has experts, a shared expert and a gate from outside, which enter gradients although
// their sets are frozen.
func defiantLayer() Config {
	cfg := normLayer()
	cfg.Expert, cfg.Shared = defiant{cfg.Expert}, defiant{cfg.Shared}
	cfg.Router = defiantRouter{cfg.Router}
	return cfg
}

// thawed runs do while a set is not frozen.
func thawed(set *param.Set, do func()) {
	frozen := set.Frozen
	set.Frozen = false
	do()
	set.Frozen = frozen
}

type defiant struct{ expert.Expert }

func (d defiant) New(s expert.Shape) (expert.Group, error) {
	g, err := d.Expert.New(s)
	return defiantGroup{g}, err
}

type defiantGroup struct{ expert.Group }

func (g defiantGroup) Forward(x blas32.General, rows expert.Rows) (y blas32.General, saved expert.Saved) {
	thawed(g.Params(), func() { y, saved = g.Group.Forward(x, rows) })
	return y, saved
}

func (g defiantGroup) Backward(saved expert.Saved, dy blas32.General) (dx blas32.General) {
	thawed(g.Params(), func() { dx = g.Group.Backward(saved, dy) })
	return dx
}

type defiantRouter struct{ router.Router }

func (d defiantRouter) New(s router.Shape) (router.Gate, error) {
	g, err := d.Router.New(s)
	return &defiantGate{g, g.(router.LossSplitter)}, err
}

type defiantGate struct {
	router.Gate
	splitter router.LossSplitter
}

func (g *defiantGate) LossParams() *param.Set { return g.splitter.LossParams() }

func (g *defiantGate) Backward(d *router.Decision, x blas32.General, grad router.Gradient) (err error) {
	thawed(g.Params(), func() { thawed(g.LossParams(), func() { err = g.Gate.Backward(d, x, grad) }) })
	return err
}

// TestThawedParametersAreTrainedAgain.
func TestThawedParametersAreTrainedAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		ctx := t.Context()
		l, err := NewLayer(w, normLayer())
		require.NoError(t, err)
		require.NoError(t, l.SetFrozen(ctx, param.Expert, param.Gate))
		for _, kinds := range [][]param.Kind{{param.Expert, param.Gate}, nil} {
			require.NoError(t, l.SetFrozen(ctx, kinds...))
			before, err := l.Parameters(ctx)
			require.NoError(t, err)
			require.NoError(t, passOver(ctx, w, l, x, dy))
			require.NoError(t, l.Step(ctx, expert.NewSGD(0.1)))
			after, err := l.Parameters(ctx)
			require.NoError(t, err)
			for i := range before {
				require.Equal(t, slices.Contains(kinds, before[i].Kind), fmt.Sprint(before[i].Data) == fmt.Sprint(after[i].Data), before[i].Name)
			}
		}
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestTheBiasOfAFrozenGate follows the load, unless it is frozen too; then the load of these steps
// never moves it.
func TestTheBiasOfAFrozenGate(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	other := randomMatrix(r, bitsTokens, bitsDim)
	for i, v := range x.Data {
		other.Data[i] = -v
	}
	cfg := normLayer()
	cfg.Router = router.TopK{K: 2, Score: router.Sigmoid, BiasRate: 1e-4}
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		ctx := t.Context()
		var thawed [2][]float32
		for i, frozenSteps := range []int{0, 2} {
			w.layers = 0 // the same seed
			l, err := NewLayer(w, cfg)
			require.NoError(t, err)
			step := func(x blas32.General, kinds ...param.Kind) []float32 {
				require.NoError(t, l.SetFrozen(ctx, kinds...))
				for _, of := range []forwarder{l, &heldPasses{Layer: l}} {
					require.NoError(t, passOver(ctx, w, of, x, dy))
				}
				require.NoError(t, l.Step(ctx, expert.NewSGD(0)))
				return biasOfLayer(ctx, t, l)
			}
			first := step(x, param.Gate)
			require.NotZero(t, first[0])
			for range frozenSteps {
				require.Equal(t, first, step(other, param.Bias))
			}
			thawed[i] = step(x)
			require.NotEqual(t, first, thawed[i])
		}
		require.Equal(t, thawed[0], thawed[1])
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// biasOfLayer is the bias by which its gate balances its load.
func biasOfLayer(ctx context.Context, t *testing.T, l *Layer) []float32 {
	t.Helper()
	p, err := l.Parameters(ctx)
	require.NoError(t, err)
	last := p[len(p)-1]
	require.Equal(t, "balance.bias", last.Name)
	return last.Data
}

// TestMisuseOfSetFrozen is an error that changes nothing: of one rank, or of all where ranks give
// other kinds.
func TestMisuseOfSetFrozen(t *testing.T) {
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		ctx := t.Context()
		l, err := NewLayer(w, normLayer())
		require.NoError(t, err)
		refuse := func(err error, why string) {
			t.Helper()
			require.ErrorContains(t, err, why)
			require.NotErrorIs(t, err, ErrFailed)
		}
		for _, kind := range []param.Kind{param.Dense, param.Bias + 1, -1} {
			refuse(l.SetFrozen(ctx, param.Gate, kind), fmt.Sprintf("SetFrozen: a layer has no parameters of kind %v, want gate to bias", kind))
		}
		kinds := [][]param.Kind{{param.Gate, param.Expert}, {param.Expert}}[w.Rank()]
		err = l.SetFrozen(ctx, kinds...)
		refuse(err, "its kinds are [expert], those of rank 0 [gate expert]")
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
		require.False(t, l.table.Sets().Experts[0].Frozen)
		r := rand.New(rand.NewPCG(8, 8))
		x := randomMatrix(r, bitsTokens, bitsDim)
		for _, of := range []forwarder{l, &heldPasses{Layer: l}} {
			mine := cutOf(w, [2]blas32.General{x, x})
			_, err = of.ForwardBatch(ctx, mine[0], router.Batch{})
			require.NoError(t, err)
			why := "SetFrozen: a Forward has had no Backward"
			if of != forwarder(l) {
				why = "SetFrozen: passes are in flight, with the numbers 2; end each by Backward or Release"
			}
			refuse(l.SetFrozen(ctx, param.Expert), why)
			_, err = of.Backward(ctx, mine[1])
			require.NoError(t, err)
			refuse(l.SetFrozen(ctx, param.Expert), "SetFrozen: the gradients of ")
			require.NoError(t, l.DiscardGradients())
		}
		return l.SetFrozen(ctx, param.Expert)
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}
