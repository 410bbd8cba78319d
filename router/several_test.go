package router

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// TestSeveral expects of each gate what it does alone, and its gradient at its offset.
func TestSeveral(t *testing.T) {
	const tokens, experts = 7, 4
	r := rand.New(rand.NewPCG(1, 2))
	x := dense(tokens, 3, make([]float32, tokens*3))
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	configs := []Router{
		TopK{K: 2, Losses: []Loss{Balance(1)}}, Uniform{K: 1}, Cosine{TopK: TopK{K: 1, Score: Sigmoid}, Columns: 2}, BASE{},
	}
	shape := Shape{Dim: 3, Experts: experts, Seed: 9}
	m, err := Several{configs}.New(shape)
	require.NoError(t, err)
	p := m.Params()
	names := []string{}
	for _, tensor := range p.Tensors() {
		names = append(names, tensor.Name)
	}
	require.Equal(t, []string{"0.gate", "2.projection", "2.embeddings", "3.gate"}, names)
	for i := range p.Value {
		p.Value[i] = float32(r.NormFloat64()) // as a checkpoint would
	}
	at := 0
	for i, config := range configs {
		alone, err := config.New(shape)
		require.NoError(t, err)
		size := 0
		if own := alone.Params(); own != nil {
			size = copy(own.Value, p.Value[at:])
		}
		want := gradientOf(t, alone, x, 0)
		got := gradientOf(t, m, x, i)
		require.Equal(t, want.d, got.d, "gate %d", i)
		require.Equal(t, want.dx, got.dx, "gate %d", i)
		p.Frozen = true
		d, err := m.Route(x, Batch{Ends: []int{tokens}, Gate: i})
		require.NoError(t, err)
		require.NoError(t, m.Backward(d, x, Gradient{
			Weights: make([]float32, len(d.Weight)), LossScale: []float32{1}, DX: dense(tokens, 3, make([]float32, 3*tokens))}))
		require.Empty(t, p.Grad.Nodes(), "leaves of frozen parameters, gate %d", i)
		p.Frozen = false
		for j, v := range got.parameters {
			if j >= at && j < at+size {
				require.Equal(t, want.parameters[j-at], v)
			} else {
				require.Zero(t, v)
			}
		}
		at += size
	}
	require.Equal(t, len(p.Value), at)
	_, err = m.Route(x, Batch{Ends: []int{tokens}, Gate: 4})
	require.EqualError(t, err, "router: Several: Gate is 4, want 0 to 3")
}

// TestSeveralSeeds: gates of one configuration begin with other parameters and draw other noise;
// the first is as it would be alone.
func TestSeveralSeeds(t *testing.T) {
	const tokens, gates = 64, 4
	r := rand.New(rand.NewPCG(1, 2))
	x := dense(tokens, 3, make([]float32, tokens*3))
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	of := NoisyTopK{TopK: TopK{K: 1}, Noise: FixedGaussian, Amount: 100}
	shape := Shape{Dim: 3, Experts: 8, Seed: 9}
	var seen []Assignment
	for range 2 { // two built alike are alike
		m, err := Several{Routers: []Router{of, of, of, of}}.New(shape)
		require.NoError(t, err)
		alone, err := of.New(shape)
		require.NoError(t, err)
		p := m.Params()
		require.Equal(t, alone.Params().Value, p.Of(p.Value, 0))
		for i := range gates {
			for j := range i {
				require.NotEqual(t, p.Of(p.Value, j), p.Of(p.Value, i), "parameters of gates %d and %d", j, i)
			}
		}
		clear(p.Value) // what is left is the noise
		for i := range gates {
			d, err := m.Route(x, Batch{Ends: []int{tokens}, Train: true, Gate: i})
			require.NoError(t, err)
			seen = append(seen, d.Clone())
		}
	}
	for i := range gates {
		require.Equal(t, seen[i], seen[gates+i], "gate %d", i)
		for j := range i {
			require.NotEqual(t, seen[j], seen[i], "noise of gates %d and %d", j, i)
		}
	}
}

// passed is what a pass forward and backward leaves.
type passed struct {
	d          Assignment
	dx         []float32
	parameters []float32
}

// gradientOf takes a pass through gate number gate, in two steps whose leaves follow each other.
func gradientOf(t *testing.T, g Gate, x blas32.General, gate int) (p passed) {
	for leaf, rows := range [][2]int{{0, 2}, {2, 7}} {
		own := mat.Rows(x, rows[0], rows[1])
		n := own.Rows
		d, err := g.Route(own, Batch{Ends: []int{n / 2, n}, Train: true, Gate: gate})
		require.NoError(t, err)
		p.d = d.Clone()
		grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{1, 2}, FirstLeaf: 2 * leaf, DX: dense(n, 3, make([]float32, 3*n))}
		for i := range grad.Weights {
			grad.Weights[i] = float32(i + 1)
		}
		require.NoError(t, g.Backward(d, own, grad))
		p.dx = append(p.dx, grad.DX.Data...)
	}
	if s := g.Params(); s != nil {
		p.parameters = append(p.parameters, s.Grad.Total()...)
		s.Grad.Reset()
	}
	return p
}

// TestSeveralBalance expects the bias of the gate that routed to move, and no other.
func TestSeveralBalance(t *testing.T) {
	of := TopK{K: 1, Score: Sigmoid, BiasRate: 0.5}
	g, err := Several{[]Router{of, TopK{K: 1}, of}}.New(Shape{Dim: 4, Experts: 4})
	require.NoError(t, err)
	b := g.(Balancer)
	require.Len(t, b.Bias(), 8)
	clear(g.Params().Value) // all tokens go to expert 0
	x := identity(4)
	for _, gate := range []int{1, 2} {
		d, err := g.Route(x, Batch{Ends: []int{4}, Train: true, Gate: gate})
		require.NoError(t, err)
		require.NoError(t, g.Backward(d, x, Gradient{Weights: make([]float32, 4), LossScale: []float32{1}, FirstLeaf: gate, DX: identity(4)}))
	}
	require.Equal(t, []int64{0, 0, 0, 0, 4, 0, 0, 0}, b.Tally())
	b.Rebalance([]int64{0, 0, 0, 0, 4, 0, 0, 0})
	require.Equal(t, []float32{0, 0, 0, 0, -.5, .5, .5, .5}, b.Bias())
	d, err := g.Route(x, Batch{Ends: []int{4}, Gate: 2})
	require.NoError(t, err)
	require.Equal(t, []int{0, 4, 0, 0}, d.Counts, "the gate goes by the bias that was handed out")
}

func TestSeveralRefuses(t *testing.T) {
	_, err := Several{}.New(Shape{Dim: 1, Experts: 1})
	require.ErrorContains(t, err, "without routers")
	_, err = Several{[]Router{nil, TopK{}, SoftMoE{Slots: 1}, ExpertChoice{Over: WholeBatch}, Record{}}}.New(Shape{Dim: 1, Experts: 2})
	for _, says := range []string{
		"gate 0 of several: no router", "gate 1 of several: TopK: K is 0", "gate 2 of several: router.SoftMoE mixes tokens",
		"gate 3 of several: router.ExpertChoice consults other ranks", "gate 4 of several: Record without a Recorder",
	} {
		require.ErrorContains(t, err, says)
	}
	require.Contains(t, Several{[]Router{Uniform{K: 3}, Hash{}}}.String(), "[router.Uniform{K:3}, router.Hash {K:0")
}

// withoutTensors has a gate whose set of parameters is empty.
type withoutTensors struct{}

func (withoutTensors) New(s Shape) (Gate, error) {
	g, err := Uniform{K: 1}.New(s)
	return emptyParams{g, param.NewSet()}, err
}

type emptyParams struct {
	Gate
	params *param.Set
}

func (g emptyParams) Params() *param.Set { return g.params }

func TestSeveralOfGatesWithEmptyParameters(t *testing.T) {
	m, err := Several{[]Router{withoutTensors{}}}.New(Shape{Dim: 3, Experts: 4})
	require.NoError(t, err)
	require.Nil(t, m.Params())
	x := dense(2, 3, make([]float32, 6))
	d, err := m.Route(x, Batch{Ends: []int{2}, Train: true})
	require.NoError(t, err)
	grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{1}, DX: x}
	require.NoError(t, m.Backward(d, x, grad))
}

// unaware is a router from outside whose gate does not look at Frozen.
type unaware struct{ TopK }

func (r unaware) New(s Shape) (Gate, error) {
	g, err := r.TopK.New(s)
	return unawareGate{g}, err
}

type unawareGate struct{ Gate }

func (g unawareGate) Backward(d *Decision, x blas32.General, upstream Gradient) error {
	p := g.Params()
	frozen := p.Frozen
	p.Frozen = false
	defer func() { p.Frozen = frozen }()
	return g.Gate.Backward(d, x, upstream)
}

// TestSeveralWithAGateThatDoesNotLookAtFrozen forgets the leaves that such a gate enters, so that
// it can be used again, and trained later.
func TestSeveralWithAGateThatDoesNotLookAtFrozen(t *testing.T) {
	m, err := Several{[]Router{unaware{TopK{K: 1}}}}.New(Shape{Dim: 3, Experts: 3, Seed: 1})
	require.NoError(t, err)
	x, p := dense(7, 3, make([]float32, 21)), m.Params()
	for i := range x.Data {
		x.Data[i] = float32(i % 5)
	}
	want := gradientOf(t, m, x, 0)
	p.Frozen = true
	for range 2 {
		d, err := m.Route(x, Batch{Ends: []int{7}})
		require.NoError(t, err)
		require.NoError(t, m.Backward(d, x, Gradient{
			Weights: make([]float32, len(d.Weight)), LossScale: []float32{1}, DX: dense(7, 3, make([]float32, 21))}))
		require.Empty(t, p.Grad.Nodes())
	}
	p.Frozen = false
	require.Equal(t, want, gradientOf(t, m, x, 0))
}
