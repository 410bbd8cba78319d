package routertest

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// testState trains a gate, gives its parameters, its bias and its state to a new one, and expects
// both to go on with the same bits: nothing else changes in a step.
func testState(t *testing.T, s suite) {
	trained, resumed := s.gate(t), s.gate(t)
	for step := range 3 {
		s.trainStep(t, trained, step)
	}
	for i, to := range s.stateOf(t, resumed) {
		require.NoError(t, to.CopyFrom(s.stateOf(t, trained)[i]))
	}
	for step := 3; step < 5; step++ {
		require.Equal(t, s.trainStep(t, trained, step), s.trainStep(t, resumed, step), "step %d", step)
	}
	require.Equal(t, s.stateOf(t, trained), s.stateOf(t, resumed))
}

// trainStep takes one batch, which is the step's, forward and back, and changes all that a step
// changes.
func (s suite) trainStep(t *testing.T, g router.Gate, step int) (o outcome) {
	s.rand = rand.New(rand.NewPCG(s.seed, uint64(step)))
	x, b := s.tokens(14), s.batch([]int{6, 6, 14})
	b.Step = step
	d, err := g.Route(x, b)
	require.NoError(t, err)
	o.decision = copyOf(d)
	o.dx, o.dp = s.backward(t, g, d, x, s.gradient(d))
	for i, v := range o.dp {
		g.Params().Value[i] -= v / 16
	}
	if g, ok := g.(router.Balancer); ok {
		g.Rebalance(slices.Clone(g.Tally()))
		require.Equal(t, make([]int64, len(g.Tally())), append([]int64{}, g.Tally()...), "tally after a step")
	}
	return o
}

// stateOf lists all that a layer saves of a gate, and checks it.
func (s suite) stateOf(t *testing.T, g router.Gate) (list []param.Entry) {
	names := map[string]bool{}
	if p := g.Params(); p != nil {
		list = append(list, param.Entry{Name: "parameters", Shape: []int{len(p.Value)}, Data: p.Value})
		for _, tensor := range p.Tensors() {
			names[tensor.Name] = true
		}
	}
	if g, ok := g.(router.Balancer); ok {
		list = append(list, param.Entry{Name: "bias", Shape: []int{len(g.Bias())}, Data: g.Bias()})
	}
	if g, ok := g.(router.Stateful); ok {
		for _, e := range g.State() {
			require.NotEmpty(t, e.Name)
			require.False(t, names[e.Name], "two tensors are called %q", e.Name)
			names[e.Name] = true
			list = append(list, e)
		}
	}
	for _, e := range list {
		require.Len(t, e.Data, (param.Tensor{Shape: e.Shape}).Len(), "%s of shape %v", e.Name, e.Shape)
	}
	return list
}
