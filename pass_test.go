package switchyard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// forwarder is what a test takes batches through: a layer, or passes of it.
type forwarder interface {
	ForwardBatch(ctx context.Context, x blas32.General, info router.Batch) (blas32.General, error)
	Backward(ctx context.Context, dy blas32.General) (blas32.General, error)
}

// heldPasses takes each batch through a pass of a layer that the test holds.
type heldPasses struct {
	*Layer
	pass *Pass
}

func (h *heldPasses) ForwardBatch(ctx context.Context, x blas32.General, info router.Batch) (y blas32.General, err error) {
	h.pass, err = h.ForwardPass(ctx, x, info)
	return h.pass.Output(), err
}

func (h *heldPasses) Backward(ctx context.Context, dy blas32.General) (blas32.General, error) {
	return h.pass.Backward(ctx, dy)
}

// cutOf cuts a rank's share of whole groups out of matrices of bitsTokens rows.
func cutOf(w *World, m [2]blas32.General) (mine [2]blas32.General) {
	const groups = bitsTokens / bitsGroup
	begin, end := int(w.Rank())*groups/w.Size(), (int(w.Rank())+1)*groups/w.Size()
	for i := range mine {
		mine[i] = part(m[i], begin*bitsGroup, end*bitsGroup)
	}
	return mine
}

// perStep is the number of batches of a step in the tests of passes.
const perStep = 4

// batches are a rank's batches of a step, and the gradients of their outputs.
type batches struct{ x, dy [perStep]blas32.General }

// batchesOf cuts a rank's share of whole groups out of batches that depend on seed.
func batchesOf(w *World, seed uint64) (b batches) {
	r := rand.New(rand.NewPCG(seed, 6))
	for m := range perStep {
		mine := cutOf(w, [2]blas32.General{randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)})
		b.x[m], b.dy[m] = mine[0], mine[1]
	}
	return b
}

// marks are what a step does to its batches: f0 runs the Forward of batch 0, b0 its Backward, d0
// drops it.
var (
	oneByOne   = []string{"f0", "b0", "f1", "b1", "f2", "b2", "f3", "b3"}
	gPipe      = []string{"f0", "f1", "f2", "f3", "b0", "b1", "b2", "b3"}
	oneFOneB   = []string{"f0", "f1", "b0", "f2", "b1", "f3", "b2", "b3"}
	backwards  = []string{"f0", "f1", "f2", "f3", "b3", "b1", "b2", "b0"}
	recomputed = []string{"f0", "d0", "f1", "f2", "d1", "d2", "f0", "b0", "f1", "b1", "f2", "b2", "f3", "b3"}
)

// left is what steps leave on a rank: outputs and gradients of tokens of each batch, step by step,
// and the parameters.
type left struct {
	results    [perStep][][]float32
	parameters []Tensor
}

// trainByMarks takes two steps, each by the marks.
func trainByMarks(ctx context.Context, w *World, cfg Config, marks []string) (res left, err error) {
	l, err := NewLayer(w, cfg)
	if err != nil {
		return res, err
	}
	for step := range uint64(2) {
		b := batchesOf(w, step)
		var passes [perStep]*Pass
		for _, mark := range marks {
			m := int(mark[1] - '0')
			if err := runMark(ctx, l, mark[0], &passes[m], m, &b, &res); err != nil {
				return res, fmt.Errorf("%s: %w", mark, err)
			}
		}
		if err := l.Step(ctx, expert.NewSGD(0.1)); err != nil {
			return res, err
		}
	}
	res.parameters, err = l.Parameters(ctx)
	return res, err
}

// runMark does one thing to batch m.
func runMark(ctx context.Context, l *Layer, do byte, p **Pass, m int, b *batches, res *left) (err error) {
	switch {
	case do == 'd':
		return (*p).Drop()
	case do == 'b':
		dx, err := (*p).Backward(ctx, b.dy[m])
		if err != nil {
			return err
		}
		y := (*p).Output()
		res.results[m] = append(res.results[m], append([]float32(nil), y.Data...), append([]float32(nil), dx.Data...))
		return (*p).Release()
	case *p == nil:
		*p, err = l.ForwardPass(ctx, b.x[m], router.Batch{Micro: m})
		return err
	}
	copied := mat.Resize(blas32.General{}, b.x[m].Rows, bitsDim) // in other memory
	mat.Copy(copied, b.x[m])
	y, err := (*p).Forward(ctx, copied, router.Batch{Micro: m})
	if err != nil {
		return err
	}
	if out := (*p).Output(); len(y.Data) > 0 && &out.Data[0] != &y.Data[0] {
		return errors.New("Output is not what Forward returned")
	}
	return nil
}

// leftOn is what train leaves on each of some ranks.
func leftOn(t *testing.T, worlds []*World, train func(w *World) (left, error)) []left {
	t.Helper()
	defer closeWorlds(worlds)
	got := make([]left, len(worlds))
	for rank, err := range atOnce(worlds, func(w *World) (err error) {
		got[w.Rank()], err = train(w)
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
	return got
}

// TestPassesInFlight: four batches in any order of their passes have the bits of one after another.
func TestPassesInFlight(t *testing.T) {
	needExactProducts(t)
	tcp := transportsUnderTest()["tcp"]
	layers := layersUnderTest()
	for _, name := range fewer(slices.Collect(maps.Keys(layers)), "dropless") {
		cfg := layers[name]
		cfg.MicroBatches = perStep
		of := func(marks []string) func(w *World) (left, error) {
			return func(w *World) (left, error) { return trainByMarks(t.Context(), w, cfg, marks) }
		}
		want := leftOn(t, inprocWorlds(3), of(oneByOne))
		for order, marks := range map[string][]string{
			"GPipe": gPipe, "1F1B": oneFOneB, "other order": backwards, "recomputation": recomputed,
		} {
			require.Equal(t, want, leftOn(t, inprocWorlds(3), of(marks)), "%s, %s", name, order)
			if name == "dropless" {
				require.Equal(t, want, leftOn(t, tcp(t, 3), of(marks)), "%s over TCP", order)
			}
		}
	}
}

// twoPasses are one that has gone forward, and one that has not.
func twoPasses(t *testing.T, l *Layer, x blas32.General) (list [2]*Pass) {
	t.Helper()
	var err error
	list[0], err = l.ForwardPass(t.Context(), x, router.Batch{})
	require.NoError(t, err)
	list[1], err = l.NewPass()
	require.NoError(t, err)
	return list
}

// passCalls are all methods of a pass that may fail, each given what is right.
func passCalls(p *Pass, x blas32.General) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Pass.Forward":  func(ctx context.Context) error { _, err := p.Forward(ctx, x, router.Batch{}); return err },
		"Pass.Eval":     func(ctx context.Context) error { _, err := p.Eval(ctx, x, router.Batch{}); return err },
		"Pass.Backward": func(ctx context.Context) error { _, err := p.Backward(ctx, x); return err },
		"Pass.Drop":     func(context.Context) error { return p.Drop() },
		"Pass.Release":  func(context.Context) error { return p.Release() },
	}
}

// trainAtOnce is trainByMarks with the batches dealt to a number of goroutines, which begin in
// random order.
func trainAtOnce(ctx context.Context, w *World, cfg Config, goroutines int, r *rand.Rand) (res left, err error) {
	l, err := NewLayer(w, cfg)
	if err != nil {
		return res, err
	}
	for step := range uint64(2) {
		b := batchesOf(w, step)
		var passes [perStep]*Pass
		for m := range passes {
			if passes[m], err = l.NewPass(); err != nil {
				return res, err
			}
		}
		if err := eachAtOnce(r, goroutines, func(m int) error {
			if _, err := passes[m].Forward(ctx, b.x[m], router.Batch{Micro: m}); err != nil {
				return err
			}
			return runMark(ctx, l, 'b', &passes[m], m, &b, &res)
		}); err != nil {
			return res, err
		}
		if err := l.Step(ctx, expert.NewSGD(0.1)); err != nil {
			return res, err
		}
	}
	res.parameters, err = l.Parameters(ctx)
	return res, err
}

// eachAtOnce does something to each batch of a step, on goroutines that begin in random order.
func eachAtOnce(r *rand.Rand, goroutines int, do func(m int) error) error {
	var wg sync.WaitGroup
	var errs [perStep]error
	for _, first := range r.Perm(goroutines) {
		wg.Go(func() {
			for m := first; m < perStep; m += goroutines {
				errs[m] = do(m)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// TestPassesAtOnce: on goroutines of their own they have the bits of one after another, over any
// transport, in chunks too.
func TestPassesAtOnce(t *testing.T) {
	needExactProducts(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	cases := map[string]func(*Config){
		"plain": func(*Config) {}, "in parts": func(c *Config) { c.Overlap.Degree = 2 },
		"by ranks": func(c *Config) { c.Overlap.Degree, c.Experts = 4, 4 },
		"shared":   func(c *Config) { c.Shared = expert.SwiGLU{Hidden: 5} },
		"copies":   func(c *Config) { c.ExpertParallel = 1 },
		"bias":     func(c *Config) { c.Router = router.TopK{K: 2, Score: router.Sigmoid, BiasRate: 0.1} },
		"compressed": func(c *Config) {
			c.Compression = Compression{When: CompressAlways, From: 1, LSH: lsh.Config{Rate: 0.4, Compensation: lsh.LearnedGain}}
		},
		"choice of all": func(c *Config) { c.Router = router.ExpertChoice{Over: router.WholeBatch} },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := layersUnderTest()["dropless"]
			cfg.MicroBatches = perStep
			change(&cfg)
			want := leftOn(t, inprocWorlds(3), func(w *World) (left, error) { return trainByMarks(t.Context(), w, cfg, oneByOne) })
			goroutines := 2 + rand.New(rand.NewPCG(seed, 1)).IntN(perStep-1)
			at := func(w *World) (left, error) {
				return trainAtOnce(t.Context(), w, cfg, goroutines, rand.New(rand.NewPCG(seed, uint64(w.Rank()))))
			}
			require.Equal(t, want, leftOn(t, inprocWorlds(3), at), "%d goroutines", goroutines)
			if name == "plain" {
				openers := transportsUnderTest()
				for _, over := range fewer(slices.Collect(maps.Keys(openers)), "tcp") {
					require.Equal(t, want, leftOn(t, openers[over](t, 3), at), "%d goroutines over %s", goroutines, over)
				}
			}
		})
	}
}

// TestMisuseOfPasses is an error that names the rank, the operation and the pass, and changes
// nothing.
func TestMisuseOfPasses(t *testing.T) {
	alone(t, func(w *World) {
		ctx := t.Context()
		l, err := NewLayer(w, smallConfig())
		require.NoError(t, err)
		r := rand.New(rand.NewPCG(4, 4))
		x, other := randomMatrix(r, 5, 6), randomMatrix(r, 5, 6)
		refuse := func(err error, why string) {
			t.Helper()
			require.ErrorContains(t, err, why)
			require.NotErrorIs(t, err, ErrFailed)
		}
		for name, call := range passCalls(nil, x) {
			refuse(call(ctx), "switchyard: "+name[len("Pass."):]+": the pass was not made by a layer")
		}
		for name, call := range passCalls(new(Pass), x) {
			refuse(call(ctx), "switchyard: "+name[len("Pass."):]+": the pass was not made by a layer")
		}
		_, err = l.ForwardPass(ctx, randomMatrix(r, 5, 7), router.Batch{})
		refuse(err, "rank 0: ForwardPass: x has ")
		p, err := l.NewPass()
		require.NoError(t, err)
		require.Equal(t, uint64(1), p.Number(), "a call that has done nothing takes no number")
		refuse(passCalls(p, x)["Pass.Backward"](ctx), "rank 0: Backward: pass 1: no Forward of it waits for it")
		_, err = p.Forward(ctx, randomMatrix(r, 5, 7), router.Batch{})
		refuse(err, "rank 0: Forward: pass 1: x has ")
		require.Zero(t, p.Output().Rows)
		y, err := p.Forward(ctx, x, router.Batch{})
		require.NoError(t, err)
		want := append([]float32(nil), y.Data...)
		refuse(passCalls(p, x)["Pass.Forward"](ctx), "rank 0: Forward: pass 1: a Forward of it waits for its Backward; call Drop to run it again")
		refuse(passCalls(p, x)["Pass.Eval"](ctx), "rank 0: Eval: pass 1: a Forward of it waits for its Backward; Eval needs a pass of its own")
		refuse(passCalls(p, randomMatrix(r, 4, 6))["Pass.Backward"](ctx), "rank 0: Backward: pass 1: dy has 4 rows, want 5")
		refuse(l.Step(ctx, expert.NewSGD(1)), "rank 0: Step: passes are in flight, with the numbers 1; end each by Backward or Release")
		require.Equal(t, want, p.Output().Data)
		require.NoError(t, p.Drop())
		require.NoError(t, p.Drop())
		refuse(passCalls(p, other)["Pass.Forward"](ctx), "rank 0: Forward: pass 1: it was forwarded before with another batch")
		_, err = p.Forward(ctx, x, router.Batch{Micro: 1})
		refuse(err, "it was forwarded before with another batch")
		require.NoError(t, passCalls(p, x)["Pass.Forward"](ctx))
		require.NoError(t, passCalls(p, x)["Pass.Backward"](ctx))
		require.Equal(t, want, p.Output().Data, "until Release")
		for _, name := range []string{"Pass.Forward", "Pass.Eval", "Pass.Backward", "Pass.Drop"} {
			refuse(passCalls(p, x)[name](ctx), "pass 1: it has ended, by Backward")
		}
		require.NoError(t, p.Release())
		require.NoError(t, p.Release())
		require.Zero(t, p.Output().Rows)
		require.NoError(t, l.Step(ctx, expert.NewSGD(1)))
	})
}

// TestARefusedBatchEndsItsPassAlone, on every rank; passes beside it go on.
func TestARefusedBatchEndsItsPassAlone(t *testing.T) {
	for rank, err := range onRanks(inprocWorlds(3), func(w *World) error {
		ctx := t.Context()
		l, err := NewLayer(w, smallConfig())
		require.NoError(t, err)
		x := randomMatrix(rand.New(rand.NewPCG(4, 4)), 4, 6)
		bad := randomMatrix(rand.New(rand.NewPCG(4, 4)), 4, 6)
		if w.Rank() == 1 {
			bad.Data[3] = float32(math.NaN())
		}
		first, err := l.ForwardPass(ctx, x, router.Batch{})
		require.NoError(t, err)
		none, err := l.ForwardPass(ctx, bad, router.Batch{})
		require.ErrorIs(t, err, alltoall.ErrRefused)
		require.Nil(t, none)
		second, err := l.NewPass()
		require.NoError(t, err)
		require.Equal(t, uint64(3), second.Number())
		_, err = second.Forward(ctx, bad, router.Batch{})
		require.ErrorIs(t, err, alltoall.ErrRefused)
		require.ErrorContains(t, passCalls(second, x)["Pass.Forward"](ctx), "pass 3: it has ended, by Forward")
		third, err := l.ForwardPass(ctx, x, router.Batch{})
		require.NoError(t, err)
		_, err = third.Backward(ctx, bad)
		require.ErrorIs(t, err, alltoall.ErrNotFinite)
		_, err = first.Backward(ctx, x)
		require.NoError(t, err)
		return l.Step(ctx, expert.NewSGD(0.1))
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestEvaluationBesidePasses: passes that evaluate, several at a time on goroutines and between
// passes of training, give what Eval gives, and change nothing.
func TestEvaluationBesidePasses(t *testing.T) {
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		ctx := t.Context()
		l, err := NewLayer(w, layersUnderTest()["dropless"])
		require.NoError(t, err)
		b := batchesOf(w, 1)
		var want [perStep][]float32
		for m, x := range b.x {
			y, err := l.Eval(ctx, x)
			require.NoError(t, err)
			want[m] = append([]float32(nil), y.Data...)
		}
		training, err := l.ForwardPass(ctx, b.x[0], router.Batch{})
		require.NoError(t, err)
		y := append([]float32(nil), training.Output().Data...)
		var passes [perStep]*Pass
		for m := range passes {
			passes[m], err = l.NewPass()
			require.NoError(t, err)
		}
		if err := eachAtOnce(rand.New(rand.NewPCG(1, uint64(w.Rank()))), perStep, func(m int) error {
			for range 3 {
				got, err := passes[m].Eval(ctx, b.x[m], router.Batch{})
				if err != nil || !slices.Equal(got.Data, want[m]) {
					return fmt.Errorf("batch %d: %w: %v, want %v", m, err, got.Data, want[m])
				}
			}
			return passes[m].Release()
		}); err != nil {
			return err
		}
		require.Equal(t, y, training.Output().Data)
		_, err = training.Backward(ctx, b.dy[0])
		require.NoError(t, err)
		return l.Step(ctx, expert.NewSGD(0.1))
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestARankThatLeavesEndsAllPasses: each that is running returns an error that names it, and those
// in flight begin nothing more.
func TestARankThatLeavesEndsAllPasses(t *testing.T) {
	for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
		ctx := t.Context()
		l, err := NewLayer(w, layersUnderTest()["dropless"])
		require.NoError(t, err)
		b := batchesOf(w, 1)
		var passes [perStep]*Pass
		for m := range passes {
			passes[m], err = l.NewPass()
			require.NoError(t, err)
		}
		if _, err := passes[0].Forward(ctx, b.x[0], router.Batch{}); err != nil || w.Rank() == 1 {
			return err // and so rank 1 leaves
		}
		_ = eachAtOnce(rand.New(rand.NewPCG(1, 1)), perStep, func(m int) error {
			if m == 0 {
				return nil
			}
			_, err := passes[m].Forward(ctx, b.x[m], router.Batch{})
			require.ErrorIs(t, err, ErrFailed)
			require.Equal(t, transport.Rank(1), transport.CulpritOf(err), "%v", err)
			return nil
		})
		for _, p := range passes {
			for name, call := range passCalls(p, b.x[0]) {
				require.ErrorIs(t, call(ctx), ErrFailed, name)
			}
		}
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// TestPassesLeaveNothing: however passes end, what they had is used again.
func TestPassesLeaveNothing(t *testing.T) {
	alone(t, func(w *World) {
		ctx := t.Context()
		l, err := NewLayer(w, smallConfig())
		require.NoError(t, err)
		x := randomMatrix(rand.New(rand.NewPCG(4, 4)), 40, 6)
		step := func() {
			var passes [4]*Pass
			for m := range passes {
				passes[m], err = l.ForwardPass(ctx, x, router.Batch{})
				require.NoError(t, err)
			}
			require.NoError(t, passCalls(passes[3], x)["Pass.Backward"](ctx)) // and is not released
			require.NoError(t, passes[2].Drop())
			require.NoError(t, passCalls(passes[2], x)["Pass.Forward"](ctx))
			for _, p := range passes[:3] {
				require.NoError(t, p.Release())
			}
			evaluated, err := l.NewPass()
			require.NoError(t, err)
			require.NoError(t, passCalls(evaluated, x)["Pass.Eval"](ctx))
			require.NoError(t, evaluated.Release())
			require.NoError(t, l.Step(ctx, expert.NewSGD(0)))
		}
		held := func() uint64 {
			for range 50 {
				step()
			}
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := held()
		require.Less(t, held(), before+64<<10, "of 200 passes")
	})
}
