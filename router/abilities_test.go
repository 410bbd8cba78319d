package router

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
)

// able is a router from outside that can do all that a router can.
type able struct{ gate Gate }

func (r able) New(Shape) (Gate, error)           { return r.gate, nil }
func (able) Causal() bool                        { return false }
func (able) Bound(tokens, _ int, _ bool) int     { return tokens - 1 }
func (able) WeightSum(int) (least, most float64) { return 0.5, 0.75 }

// plainRouter and plainGate have no more methods than a Router and a Gate.
type (
	plainRouter struct{ of Router }
	plainGate   struct{ Gate }
)

func (r plainRouter) New(s Shape) (Gate, error) {
	g, err := r.of.New(s)
	return plainGate{g}, err
}

// ableGate can do all that a gate can but consult other ranks. It gives all tokens to expert 0, and
// notes what it was asked.
type ableGate struct {
	params, losses *param.Set
	bias           []float32
	tally          []int64
	mean           []float64
	asked          []string
}

var (
	_ Balancer      = (*ableGate)(nil)
	_ GlobalCounter = (*ableGate)(nil)
	_ LogitRouter   = (*ableGate)(nil)
	_ LossSplitter  = (*ableGate)(nil)
	_ Stateful      = (*ableGate)(nil)
)

func newAbleGate() *ableGate {
	w := param.Tensor{Name: "w", Shape: []int{1}}
	return &ableGate{
		params: param.NewSet(w), losses: param.NewSet(w), bias: []float32{1, 2}, tally: []int64{3, 0}, mean: []float64{6},
	}
}

func (g *ableGate) ask(what string)     { g.asked = append(g.asked, what) }
func (g *ableGate) Params() *param.Set  { return g.params }
func (g *ableGate) Bias() []float32     { return g.bias }
func (g *ableGate) Tally() []int64      { return g.tally }
func (g *ableGate) WantsCounts() bool   { return true }
func (g *ableGate) Release(d *Decision) { g.ask("Release of " + d.Saved.(string)) }

func (g *ableGate) Route(x blas32.General, b Batch) (*Decision, error) {
	g.ask("Route")
	d := &Decision{Saved: "mine", GroupLoss: make([]float64, len(b.Ends)), Counts: []int{x.Rows, 0}}
	d.Tokens, d.Experts, d.Ends = x.Rows, 2, []int{x.Rows, x.Rows}
	for t := range x.Rows {
		d.Token, d.Weight = append(d.Token, int32(t)), append(d.Weight, g.bias[0])
	}
	return d, nil
}

func (g *ableGate) RouteLogits(logits blas32.General, b Batch) (*Decision, error) {
	g.ask("RouteLogits")
	return g.Route(logits, b)
}

func (g *ableGate) Backward(d *Decision, _ blas32.General, grad Gradient) error {
	g.ask("Backward of " + d.Saved.(string))
	if grad.Losses != nil {
		grad.Losses.Grad.Leaf(grad.FirstLeaf)[0] = 5
	}
	g.params.Grad.Leaf(grad.FirstLeaf)[0] = 7
	return nil
}

func (g *ableGate) Rebalance(sum []int64) {
	g.ask("Rebalance")
	for e, n := range sum {
		g.bias[e] += float32(n)
	}
}

func (g *ableGate) LossParams() *param.Set { return g.losses }

func (g *ableGate) State() []param.Entry {
	return []param.Entry{{Name: "mean", Role: param.Training, Shape: []int{1}, Data: g.mean}}
}

func (g *ableGate) SetCounts(d *Decision, counts []int, tokens int) {
	g.ask("SetCounts of " + d.Saved.(string))
	d.GroupLoss[0] = float64(counts[1] * tokens)
}

// consultingGate is an ableGate that consults other ranks too, which only some wrappers take.
type consultingGate struct{ *ableGate }

var _ Consulting = consultingGate{}

func (g consultingGate) Consult(x blas32.General, b Batch, s Share) Consultation {
	g.ask("Consult")
	return ableConsultation{g.ableGate, x, b}
}

type ableConsultation struct {
	gate *ableGate
	x    blas32.General
	b    Batch
}

func (ableConsultation) Next([]int64) ([]int64, error) { return nil, nil }

func (c ableConsultation) Decide() *Decision {
	d, _ := c.gate.Route(c.x, c.b)
	return d
}

// wrapping is a router that wraps another one.
type wrapping struct {
	wrap     func(Router) Router
	consults bool // it takes gates that consult other ranks
}

// wrappings lists all of them, and some in each other.
func wrappings(t *testing.T) map[string]wrapping {
	t.Helper()
	record := func(r Router) Router {
		recorder, err := NewRecorder(&bytes.Buffer{})
		require.NoError(t, err)
		return Record{Router: r, To: recorder}
	}
	several := func(r Router) Router { return Several{[]Router{r}} }
	return map[string]wrapping{
		"Record": {record, true}, "Several": {several, false},
		"Record of Record":   {func(r Router) Router { return record(record(r)) }, true},
		"Record of Several":  {func(r Router) Router { return record(several(r)) }, false},
		"Several of Several": {func(r Router) Router { return several(several(r)) }, false},
		"Several of Record":  {func(r Router) Router { return several(record(r)) }, false},
	}
}

// abilities tests each ability of a gate that wraps g, or a consultingGate of g for Consulting.
var abilities = map[string]func(t *testing.T, wrapped Gate, g *ableGate){
	"parameters": func(t *testing.T, wrapped Gate, g *ableGate) {
		wrapped.Params().Value[0] = 9
		routeOne(t, wrapped, 0)
		require.Equal(t, []float32{9}, g.params.Value)
	},
	"Balancer": func(t *testing.T, wrapped Gate, g *ableGate) {
		b := wrapped.(Balancer)
		require.Equal(t, []float32{1, 2}, b.Bias())
		require.Equal(t, []int64{3, 0}, b.Tally())
		b.Bias()[0] = 4 // as a checkpoint would
		require.Equal(t, float32(4), routeOne(t, wrapped, 0).Weight[0])
		b.Rebalance([]int64{3, 0})
		require.Equal(t, []float32{7, 2}, b.Bias())
		require.Equal(t, float32(7), routeOne(t, wrapped, 1).Weight[0])
	},
	"GlobalCounter": func(t *testing.T, wrapped Gate, g *ableGate) {
		d := routeOne(t, wrapped, 0)
		require.True(t, wrapped.(GlobalCounter).WantsCounts())
		wrapped.(GlobalCounter).SetCounts(d, []int{1, 2}, 3)
		require.Equal(t, []float64{6}, d.GroupLoss)
		require.Equal(t, []string{"Route", "SetCounts of mine"}, g.asked)
	},
	"LossSplitter": func(t *testing.T, wrapped Gate, g *ableGate) {
		losses := wrapped.(LossSplitter).LossParams()
		require.Len(t, losses.Value, 1)
		x := dense(1, 1, []float32{1})
		grad := Gradient{Weights: []float32{1}, LossScale: []float32{1}, Losses: losses, DX: x}
		require.NoError(t, wrapped.Backward(routeOne(t, wrapped, 0), x, grad))
		require.Equal(t, []float32{5}, losses.Grad.Total())
		require.Equal(t, []float32{7}, wrapped.Params().Grad.Total())
	},
	"Stateful": func(t *testing.T, wrapped Gate, g *ableGate) {
		state := wrapped.(Stateful).State()
		require.Len(t, state, 1)
		require.Regexp(t, `^(0\.)*mean$`, state[0].Name)
		require.Equal(t, []int{1}, state[0].Shape)
		require.Equal(t, param.Training, state[0].Role)
		state[0].Data.([]float64)[0] = 7
		require.Equal(t, []float64{7}, g.mean)
	},
	"LogitRouter": func(t *testing.T, wrapped Gate, g *ableGate) {
		d, err := wrapped.(LogitRouter).RouteLogits(dense(1, 2, []float32{1, 2}), Batch{Ends: []int{1}})
		require.NoError(t, err)
		wrapped.(LogitRouter).Release(d)
		require.Equal(t, []string{"RouteLogits", "Route", "Release of mine"}, g.asked)
	},
	"Consulting": func(t *testing.T, wrapped Gate, g *ableGate) {
		c := wrapped.(Consulting).Consult(dense(1, 1, []float32{1}), Batch{Ends: []int{1}}, Share{Count: 1})
		_, err := c.Next(nil)
		require.NoError(t, err)
		require.Equal(t, []float32{1}, c.Decide().Weight)
		require.Equal(t, []string{"Consult", "Route"}, g.asked)
	},
}

// routeOne routes one token, in a batch of the given number.
func routeOne(t *testing.T, g Gate, micro int) *Decision {
	t.Helper()
	d, err := g.Route(dense(1, 1, []float32{1}), Batch{Ends: []int{1}, Micro: micro})
	require.NoError(t, err)
	return d
}

// TestWrappersKeepAbilities of the gates and of the routers that they wrap.
func TestWrappersKeepAbilities(t *testing.T) {
	for name, w := range wrappings(t) {
		for ability, check := range abilities {
			t.Run(name+"/"+ability, func(t *testing.T) {
				g := newAbleGate()
				inner := Gate(g)
				if w.consults {
					inner = consultingGate{g}
				} else if ability == "Consulting" {
					t.Skip("it refuses such gates: TestSeveralRefuses")
				}
				wrapped, err := w.wrap(able{inner}).New(Shape{Dim: 1, Experts: 2})
				require.NoError(t, err)
				check(t, wrapped, g)
			})
		}
		t.Run(name+"/router", func(t *testing.T) {
			r := w.wrap(able{newAbleGate()})
			require.False(t, IsCausal(r))
			require.Equal(t, 6, r.(BoundedRouter).Bound(7, 2, true))
			least, most := r.(WeightedRouter).WeightSum(2)
			require.Equal(t, [2]float64{0.5, 0.75}, [2]float64{least, most})
		})
	}
}

// TestNamesOfTheStatesOfSeveral differ by the gate.
func TestNamesOfTheStatesOfSeveral(t *testing.T) {
	g, err := Several{[]Router{TopK{K: 1}, able{newAbleGate()}, able{newAbleGate()}}}.New(Shape{Dim: 1, Experts: 2})
	require.NoError(t, err)
	var names []string
	for _, e := range g.(Stateful).State() {
		names = append(names, e.Name)
	}
	require.Equal(t, []string{"1.mean", "2.mean"}, names)
}

// TestWrappersAddNoAbilities to a gate and a router that have none.
func TestWrappersAddNoAbilities(t *testing.T) {
	for name, w := range wrappings(t) {
		t.Run(name, func(t *testing.T) {
			r := w.wrap(plainRouter{able{newAbleGate()}})
			require.True(t, IsCausal(r))
			require.Equal(t, math.MaxInt, r.(BoundedRouter).Bound(7, 2, true))
			least, most := r.(WeightedRouter).WeightSum(2)
			require.Equal(t, [2]float64{0, math.Inf(1)}, [2]float64{least, most})

			g, err := r.New(Shape{Dim: 1, Experts: 2})
			require.NoError(t, err)
			require.NotImplements(t, (*Consulting)(nil), g)
			require.NotImplements(t, (*LogitRouter)(nil), g)
			require.NotImplements(t, (*Mixer)(nil), g)
			require.Nil(t, g.(Balancer).Bias())
			require.Nil(t, g.(Balancer).Tally())
			require.NotPanics(t, func() { g.(Balancer).Rebalance(nil) })
			require.Nil(t, g.(LossSplitter).LossParams())
			require.Empty(t, g.(Stateful).State())
			require.False(t, g.(GlobalCounter).WantsCounts())
		})
	}
}

// TestSeveralTakesLogitsIfAllItsGatesDo.
func TestSeveralTakesLogitsIfAllItsGatesDo(t *testing.T) {
	logits := dense(2, 2, []float32{1, 2, 2, 1})
	for _, c := range []struct {
		routers []Router
		takes   bool
	}{
		{[]Router{TopK{K: 1}, Cosine{TopK: TopK{K: 1}, Columns: 2}}, true},
		{[]Router{TopK{K: 1}, ExpertChoice{}}, false},
	} {
		g, err := Several{c.routers}.New(Shape{Dim: 3, Experts: 2})
		require.NoError(t, err)
		l, takes := g.(LogitRouter)
		require.Equal(t, c.takes, takes)
		if !takes {
			continue
		}
		_, err = l.RouteLogits(logits, Batch{Ends: []int{2}, Gate: 2})
		require.EqualError(t, err, "router: Several: Gate is 2, want 0 to 1")
		d, err := l.RouteLogits(logits, Batch{Ends: []int{2}, Gate: 1})
		require.NoError(t, err)
		require.Equal(t, []int32{1, 0}, d.Token)
		l.Release(d)
		require.Panics(t, func() { l.Release(d) })
	}
}
