package switchyard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/hook"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// everyHook sets a hook at each point of both directions, whose name it is told.
func everyHook(f func(point string) hook.Func) hook.Hooks {
	set := func(direction string) hook.Points {
		return hook.Points{
			Start: f(direction + "Start"), BeforeDispatch: f(direction + "BeforeDispatch"), AfterDispatch: f(direction + "AfterDispatch"),
			BeforeCombine: f(direction + "BeforeCombine"), AfterCombine: f(direction + "AfterCombine"), End: f(direction + "End"),
		}
	}
	return hook.Hooks{Forward: set("Forward."), Backward: set("Backward.")}
}

// inert is a hook that changes nothing.
func inert(string) hook.Func {
	return func(context.Context, hook.Call, blas32.General) error { return nil }
}

// TestHooksThatChangeNothing keep all bits, however rows travel.
func TestHooksThatChangeNothing(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for name, change := range map[string]func(c *Config){
		"plain":    func(*Config) {},
		"chunks":   func(c *Config) { c.Overlap.Degree = 3 },
		"by ranks": func(c *Config) { c.Experts, c.Overlap.Degree = 3, 2 },
		"bf16":     func(c *Config) { c.Wire, c.Overlap.Degree = alltoall.Everywhere(alltoall.BF16), 2 },
		"dedup":    func(c *Config) { c.Algorithm, c.Wire = alltoall.Dedup, alltoall.Everywhere(alltoall.FP8) },
		"rails":    func(c *Config) { c.Algorithm, c.Topology = alltoall.Rails, alltoall.Nodes(2, 1) },
		"shared":   func(c *Config) { c.Shared, c.Wire.Finite = expert.FFN{Hidden: 4}, true },
		"compressed": func(c *Config) {
			c.Compression = Compression{When: CompressAlways, LSH: lsh.Config{Rate: 0.5, Compensation: lsh.LearnedGain}}
		},
		"mixtures": func(c *Config) { c.Router = router.SoftMoE{Slots: 2} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := layersUnderTest()["dropless"]
			change(&cfg)
			cuts := cutsOf(splits[2][0])
			want := trainTwiceWith(t, inprocWorlds(2), cfg, x, dy, router.Batch{}, cuts)
			cfg.Hooks = everyHook(inert)
			requireSameBits(t, want, trainTwiceWith(t, inprocWorlds(2), cfg, x, dy, router.Batch{}, cuts))
		})
	}
}

// hookCalls lists calls of hooks, of both goroutines of a pass.
type hookCalls struct {
	mu   sync.Mutex
	list []string
}

func (c *hookCalls) hook(point string) hook.Func {
	return func(_ context.Context, at hook.Call, rows blas32.General) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.list = append(c.list, fmt.Sprintf("%s pass %d step %d train %t chunk %d of %d, %d rows of expert %d on %v",
			point, at.Pass, at.Step, at.Train, at.Chunk, at.Chunks, rows.Rows, at.Expert, at.Ends))
		if at.Backward != strings.HasPrefix(point, "Backward.") {
			return errors.New("the wrong direction")
		}
		return nil
	}
}

// TestOrderOfHooks on two ranks of which each hosts two experts, cut into two chunks: token t of
// rank 0 goes to experts t and 3, and rank 1 has none.
func TestOrderOfHooks(t *testing.T) {
	for degree, want := range map[int]string{
		1: `Forward.Start pass 1 step 0 train true chunk 0 of 0, 2 rows of expert 0 on []
Forward.BeforeDispatch pass 1 step 0 train true chunk 0 of 1, 2 rows of expert 0 on [1 2]
Forward.BeforeDispatch pass 1 step 0 train true chunk 0 of 1, 2 rows of expert 2 on [0 2]
Forward.AfterDispatch pass 1 step 0 train true chunk 0 of 1, 2 rows of expert 0 on [1 2]
Forward.BeforeCombine pass 1 step 0 train true chunk 0 of 1, 2 rows of expert 0 on [1 2]
Forward.AfterCombine pass 1 step 0 train true chunk 0 of 1, 2 rows of expert 0 on [1 2]
Forward.AfterCombine pass 1 step 0 train true chunk 0 of 1, 2 rows of expert 2 on [0 2]
Forward.End pass 1 step 0 train true chunk 0 of 0, 2 rows of expert 0 on []
Backward.Start pass 1 step 0 train true chunk 0 of 0, 2 rows of expert 0 on []
Backward.BeforeDispatch pass 1 step 0 train true chunk 0 of 1, 2 rows of expert 0 on [1 2]
Backward.BeforeDispatch pass 1 step 0 train true chunk 0 of 1, 2 rows of expert 2 on [0 2]
Backward.AfterDispatch pass 1 step 0 train true chunk 0 of 1, 2 rows of expert 0 on [1 2]
Backward.BeforeCombine pass 1 step 0 train true chunk 0 of 1, 2 rows of expert 0 on [1 2]
Backward.AfterCombine pass 1 step 0 train true chunk 0 of 1, 2 rows of expert 0 on [1 2]
Backward.AfterCombine pass 1 step 0 train true chunk 0 of 1, 2 rows of expert 2 on [0 2]
Backward.End pass 1 step 0 train true chunk 0 of 0, 2 rows of expert 0 on []
Forward.Start pass 2 step 1 train false chunk 0 of 0, 2 rows of expert 0 on []
Forward.BeforeDispatch pass 2 step 1 train false chunk 0 of 1, 2 rows of expert 0 on [1 2]
Forward.BeforeDispatch pass 2 step 1 train false chunk 0 of 1, 2 rows of expert 2 on [0 2]
Forward.AfterDispatch pass 2 step 1 train false chunk 0 of 1, 2 rows of expert 0 on [1 2]
Forward.BeforeCombine pass 2 step 1 train false chunk 0 of 1, 2 rows of expert 0 on [1 2]
Forward.AfterCombine pass 2 step 1 train false chunk 0 of 1, 2 rows of expert 0 on [1 2]
Forward.AfterCombine pass 2 step 1 train false chunk 0 of 1, 2 rows of expert 2 on [0 2]
Forward.End pass 2 step 1 train false chunk 0 of 0, 2 rows of expert 0 on []`,
		2: `Forward.Start pass 1 step 0 train true chunk 0 of 0, 2 rows of expert 0 on []
Forward.BeforeDispatch pass 1 step 0 train true chunk 0 of 2, 1 rows of expert 0 on [1]
Forward.BeforeDispatch pass 1 step 0 train true chunk 1 of 2, 1 rows of expert 1 on [1]
Forward.BeforeDispatch pass 1 step 0 train true chunk 1 of 2, 2 rows of expert 3 on [2]
Forward.AfterCombine pass 1 step 0 train true chunk 0 of 2, 1 rows of expert 0 on [1]
Forward.AfterCombine pass 1 step 0 train true chunk 1 of 2, 1 rows of expert 1 on [1]
Forward.AfterCombine pass 1 step 0 train true chunk 1 of 2, 2 rows of expert 3 on [2]
Forward.End pass 1 step 0 train true chunk 0 of 0, 2 rows of expert 0 on []
Forward.AfterDispatch pass 1 step 0 train true chunk 0 of 2, 1 rows of expert 0 on [1]
Forward.BeforeCombine pass 1 step 0 train true chunk 0 of 2, 1 rows of expert 0 on [1]
Forward.AfterDispatch pass 1 step 0 train true chunk 1 of 2, 1 rows of expert 1 on [1]
Forward.BeforeCombine pass 1 step 0 train true chunk 1 of 2, 1 rows of expert 1 on [1]`,
	} {
		var seen hookCalls
		require.NoError(t, errors.Join(onRanks(inprocWorlds(2), func(w *World) error {
			hooks := everyHook(inert)
			if w.Rank() == 0 {
				hooks = everyHook(seen.hook)
			}
			return hookedSteps(t.Context(), w, hooks, degree)
		})...))
		got := seen.list
		if degree == 2 { // those of the goroutine that moves rows, then the others of the experts
			got = slices.DeleteFunc(got, func(s string) bool { return !strings.HasPrefix(s, "Forward.") || !strings.Contains(s, "pass 1 ") })
			slices.SortStableFunc(got, func(a, b string) int { return ofExperts(a) - ofExperts(b) })
		}
		require.Equal(t, want, strings.Join(got, "\n"), "degree %d", degree)
	}
}

func ofExperts(call string) int {
	if strings.Contains(call, "AfterDispatch") || strings.Contains(call, "BeforeCombine") {
		return 1
	}
	return 0
}

// hookedSteps trains a step, and evaluates.
func hookedSteps(ctx context.Context, w *World, hooks hook.Hooks, degree int) error {
	l, err := NewLayer(w, Config{
		Dim: 3, Experts: 4, Group: 2, Hooks: hooks, Expert: expert.FFN{Hidden: 2}, Overlap: Overlap{Degree: degree},
		Router: router.Forced{Route: func(token int) []router.ExpertID { return []router.ExpertID{router.ExpertID(token), 3} }},
	})
	if err != nil {
		return err
	}
	x := blas32.General{Cols: 3, Stride: 3}
	if w.Rank() == 0 {
		x = blas32.General{Rows: 2, Cols: 3, Stride: 3, Data: []float32{1, 2, 3, 4, 5, 6}}
	}
	if err = stepOn(ctx, l, x, expert.NewSGD(0)); err != nil {
		return err
	}
	_, err = l.Eval(ctx, x)
	return err
}

// scaling is a hook that multiplies rows by a factor, and by more for higher experts, as those of a
// forward pass and the opposite ones of its backward pass do.
func scaling(by float32) hook.Func {
	return func(_ context.Context, at hook.Call, rows blas32.General) error {
		row := 0
		for i, end := range append(slices.Clone(at.Ends), rows.Rows) {
			f := by + float32(at.Expert+i)/8
			if at.Ends == nil {
				f = by
			}
			for ; row < end; row++ {
				for j := range mat.Row(rows, row) {
					mat.Row(rows, row)[j] *= f
				}
			}
		}
		return nil
	}
}

// TestReplacedRows: what the hooks of a forward pass scale, those at the opposite points of the
// backward pass scale too; then dx is the gradient, by finite differences of the outputs of two
// ranks, and without any of the six it is not.
func TestReplacedRows(t *testing.T) {
	forward := hook.Points{
		Start: scaling(1.5), BeforeDispatch: scaling(0.75), AfterDispatch: scaling(1.25),
		BeforeCombine: scaling(0.5), AfterCombine: scaling(1.75), End: scaling(0.8),
	}
	backward := hook.Points{
		Start: forward.End, BeforeDispatch: forward.AfterCombine, AfterDispatch: forward.BeforeCombine,
		BeforeCombine: forward.AfterDispatch, AfterCombine: forward.BeforeDispatch, End: forward.Start,
	}
	for _, degree := range []int{1, 2} {
		for _, of := range []expert.Expert{expert.SwiGLU{Hidden: 5}, exponential{0.1}} {
			off, size := hookedGradient(t, hook.Hooks{Forward: forward, Backward: backward}, of, degree)
			require.Less(t, math.Abs(off), 2e-3*math.Abs(size), "%v, degree %d", of, degree)
		}
	}
	for i := range hook.Number {
		h := hook.Hooks{Forward: forward, Backward: backward}
		*[]*hook.Func{
			&h.Backward.Start, &h.Backward.BeforeDispatch, &h.Backward.AfterDispatch,
			&h.Backward.BeforeCombine, &h.Backward.AfterCombine, &h.Backward.End,
		}[i] = nil
		off, size := hookedGradient(t, h, expert.SwiGLU{Hidden: 5}, 1)
		require.Greater(t, math.Abs(off), 1e-2*math.Abs(size), "without the hook at %s on the way back", hook.Name(i))
	}
}

// hookedGradient compares the derivative of Σ y·dy along a direction with Σ dx·direction, and
// returns how far they are apart, and the derivative.
func hookedGradient(t *testing.T, hooks hook.Hooks, of expert.Expert, degree int) (off, size float64) {
	r := rand.New(rand.NewPCG(5, 6))
	const tokens, dim, h = 6, 4, 1. / 256
	x, dy, v := randomMatrix(r, tokens, dim), randomMatrix(r, tokens, dim), randomMatrix(r, tokens, dim)
	var parts [2]struct{ analytic, numeric float64 }
	require.NoError(t, errors.Join(onRanks(inprocWorlds(2), func(w *World) error {
		l, err := NewLayer(w, Config{
			Dim: dim, Experts: 4, Group: 2, Hooks: hooks, Overlap: Overlap{Degree: degree},
			Router: router.TopK{K: 4}, Expert: of, Shared: expert.SwiGLU{Hidden: 3},
		})
		if err != nil {
			return err
		}
		begin, end := 4*int(w.Rank()), 4+2*int(w.Rank())
		x, dy, v := part(x, begin, end), part(dy, begin, end), part(v, begin, end)
		if _, err = l.Forward(t.Context(), x); err != nil {
			return err
		}
		dx, err := l.Backward(t.Context(), dy)
		if err != nil {
			return err
		}
		sum := &parts[w.Rank()]
		sum.analytic = dot(dx, v)
		for _, sign := range []float64{1, -1} {
			moved := blas32.General{Rows: x.Rows, Cols: dim, Stride: dim, Data: slices.Clone(x.Data)}
			for i := range moved.Data {
				moved.Data[i] += float32(sign * h * float64(v.Data[i]))
			}
			y, err := l.Eval(t.Context(), moved)
			if err != nil {
				return err
			}
			sum.numeric += sign * dot(y, dy) / (2 * h)
		}
		return nil
	})...))
	size = parts[0].numeric + parts[1].numeric
	return parts[0].analytic + parts[1].analytic - size, size
}

// exponential is experts without parameters whose answers are factor·eˣ, and who need those that
// they have returned for their gradients.
type exponential struct{ factor float32 }

func (e exponential) New(expert.Shape) (expert.Group, error) { return e, nil }
func (e exponential) Params() *param.Set                     { return nil }

func (e exponential) Forward(x blas32.General, _ expert.Rows) (blas32.General, expert.Saved) {
	y := blas32.General{Rows: x.Rows, Cols: x.Cols, Stride: x.Cols, Data: make([]float32, x.Rows*x.Cols)}
	for i := range x.Rows {
		for j, v := range mat.Row(x, i) {
			mat.Row(y, i)[j] = e.factor * float32(math.Exp(float64(v)))
		}
	}
	return y, y
}

func (e exponential) Backward(saved expert.Saved, dy blas32.General) blas32.General {
	y := saved.(blas32.General)
	dx := blas32.General{Rows: y.Rows, Cols: y.Cols, Stride: y.Cols, Data: make([]float32, y.Rows*y.Cols)}
	for i := range y.Rows {
		for j, v := range mat.Row(y, i) {
			mat.Row(dx, i)[j] = v * mat.Row(dy, i)[j]
		}
	}
	return dx
}

// TestHooksOfCompressedRows may replace centroids: compression goes by its own. The experts answer
// 0, so that only what compensates for the centroids is left.
func TestHooksOfCompressedRows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	x := randomMatrix(r, 8, 3)
	var want []float32
	for _, h := range []hook.Hooks{
		{}, {Forward: hook.Points{BeforeDispatch: scaling(2)}}, {Backward: hook.Points{BeforeDispatch: scaling(2)}},
	} {
		alone(t, func(w *World) {
			l, err := NewLayer(w, Config{
				Dim: 3, Experts: 2, Router: router.TopK{K: 1}, Expert: exponential{}, Hooks: h,
				Compression: Compression{When: CompressAlways, Assign: roundRobin(2), ClusterGradients: true, LSH: lsh.Config{Compensation: lsh.Identity}},
			})
			require.NoError(t, err)
			got, err := outputsOf(t.Context(), l, x)
			require.NoError(t, err)
			if want == nil {
				want = got
			}
			require.Equal(t, want, got, "%v", h)
		})
	}
}

func dot(a, b blas32.General) (sum float64) {
	for i := range a.Rows {
		for j, v := range mat.Row(a, i) {
			sum += float64(v) * float64(mat.Row(b, i)[j])
		}
	}
	return sum
}

// TestHooksSeeNoPadding: what they write in its rows is not kept.
func TestHooksSeeNoPadding(t *testing.T) {
	add := func(_ context.Context, _ hook.Call, rows blas32.General) error {
		for i := range rows.Rows {
			for j := range mat.Row(rows, i) {
				mat.Row(rows, i)[j]++
			}
		}
		return nil
	}
	alone(t, func(w *World) {
		l, err := NewLayer(w, Config{
			Dim: 2, Experts: 2, Router: router.TopK{K: 1}, Expert: expert.FFN{Hidden: 2},
			Hooks: hook.Hooks{Forward: hook.Points{Start: add, End: add}, Backward: hook.Points{Start: add, End: add}},
		})
		require.NoError(t, err)
		x := blas32.General{Rows: 3, Cols: 2, Stride: 2, Data: []float32{1, 2, float32(math.NaN()), 4, 5, 6}}
		was := slices.Clone(x.Data)
		y, err := l.ForwardBatch(t.Context(), x, router.Batch{Padding: []bool{false, true, false}})
		require.NoError(t, err)
		require.Equal(t, []float32{0, 0}, mat.Row(y, 1))
		dx, err := l.Backward(t.Context(), y)
		require.NoError(t, err)
		require.Equal(t, []float32{0, 0}, mat.Row(dx, 1))
		require.Equal(t, fmt.Sprint(was), fmt.Sprint(x.Data), "x is the caller's")
	})
}

// TestHooksOfPassesAtTheSameTime: two passes, each on a goroutine of its own, have the outputs that
// they have without hooks, and each has its number at every point.
func TestHooksOfPassesAtTheSameTime(t *testing.T) {
	x := randomMatrix(rand.New(rand.NewPCG(3, 4)), 8, 3)
	for _, err := range onRanks(inprocWorlds(2), func(w *World) error {
		var want [2][]float32
		var params []Tensor
		for _, h := range []bool{false, true} {
			var seen [2]atomic.Int64
			cfg := Config{Dim: 3, Experts: 4, Group: 4, Router: router.TopK{K: 4}, Expert: expert.FFN{Hidden: 2}, Overlap: Overlap{Degree: 2}}
			if h {
				cfg.Hooks = everyHook(func(string) hook.Func {
					return func(_ context.Context, at hook.Call, _ blas32.General) error {
						seen[at.Pass-1].Add(1)
						return nil
					}
				})
			}
			l, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			if params != nil { // so that the layers are alike
				err = l.Load(params)
			} else {
				params, err = l.Parameters(t.Context())
			}
			if err != nil {
				return err
			}
			got, err := hookedPasses(t.Context(), l, x)
			if err != nil {
				return err
			}
			if h {
				require.Equal(t, want, got)
				require.Equal(t, seen[0].Load(), seen[1].Load(), "calls")
				require.Positive(t, seen[0].Load())
			}
			want = got
		}
		return nil
	}) {
		require.NoError(t, err)
	}
}

// hookedPasses takes a batch through the layer twice at the same time, both ways.
func hookedPasses(ctx context.Context, l *Layer, x blas32.General) (all [2][]float32, err error) {
	var errs [2]error
	var passes sync.WaitGroup
	for i := range all {
		p, err := l.NewPass()
		if err != nil {
			return all, err
		}
		passes.Go(func() {
			y, err := p.Forward(ctx, x, router.Batch{})
			if err == nil {
				all[i] = slices.Clone(y.Data)
				y, err = p.Backward(ctx, x)
				all[i] = append(all[i], y.Data...)
			}
			errs[i] = errors.Join(err, p.Release())
		})
	}
	passes.Wait()
	return all, errors.Join(errs[:]...)
}

// TestRanksAgreeOnHooks: on which are set.
func TestRanksAgreeOnHooks(t *testing.T) {
	for _, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := layersUnderTest()["dropless"]
		if w.Rank() == 1 {
			cfg.Hooks.Backward.Start = inert("")
		}
		_, err := NewLayer(w, cfg)
		return err
	}) {
		require.ErrorContains(t, err, "Hooks=[Backward.Start]")
		require.ErrorContains(t, err, "Hooks=[]")
	}
}
