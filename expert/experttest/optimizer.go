package experttest

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
)

// RunOptimizer runs the suite for optimizers on those that kind returns, each time a new one with
// the same settings, of which no rate is 0. An optimizer that implements [expert.Stateful] must go
// on from a saved state with the same bits. wrong are optimizers with settings that cannot work:
// their Validate must return an error and leave parameters alone.
func RunOptimizer(t *testing.T, kind func() expert.Optimizer, wrong ...expert.Validator) {
	for name, run := range map[string]func(*testing.T, func() expert.Optimizer){
		"a small step goes down":              optimizerDescends,
		"gradients are left alone":            optimizerLeavesGradients,
		"sets of parameters are kept apart":   optimizerKeepsApart,
		"the same updates give the same bits": optimizerRepeats,
		"no parameters":                       optimizerEmpty,
		"values may be exchanged":             optimizerExchanged,
		"asking changes nothing":              optimizerValidates,
		"state has names, lengths and memory": stateForm,
		"state before updates is none":        stateBeforeUpdates,
		"state is held once it is there":      stateHeld,
		"a loaded state goes on":              stateLoaded,
		"states of sets are kept apart":       stateApart,
	} {
		t.Run(name, func(t *testing.T) { run(t, kind) })
	}
	for _, o := range wrong {
		t.Run("wrong settings", func(t *testing.T) {
			require.Error(t, o.Validate(), "%v", o)
			require.Error(t, o.Validate(), "asked again: %v", o)
		})
	}
}

// parameters returns a set of random values, and as many random gradients for it as are asked for.
func parameters(seed uint64, n, gradients int) (*param.Set, [][]float32) {
	r := rand.New(rand.NewPCG(seed, 1))
	p := param.NewSet(param.Tensor{Name: "v", Shape: []int{n}})
	list := [][]float32{p.Value}
	for range gradients {
		list = append(list, make([]float32, n))
	}
	for _, v := range list {
		for i := range v {
			v[i] = r.Float32()*2 - 1
		}
	}
	return p, list[1:]
}

// optimizerDescends: the first update moves against the gradient.
func optimizerDescends(t *testing.T, kind func() expert.Optimizer) {
	p, grads := parameters(1, 50, 1)
	before := slices.Clone(p.Value)
	kind().Update(p, grads[0])
	along := 0.0
	for i, v := range p.Value {
		require.False(t, math.IsNaN(float64(v)) || math.IsInf(float64(v), 0), "element %d is %v", i, v)
		along += float64(v-before[i]) * float64(grads[0][i])
	}
	require.Negative(t, along, "the move along the gradient")
}

func optimizerLeavesGradients(t *testing.T, kind func() expert.Optimizer) {
	p, grads := parameters(2, 33, 3)
	o := kind()
	for _, g := range grads {
		before := slices.Clone(g)
		o.Update(p, g)
		require.Equal(t, before, g)
	}
}

// optimizerKeepsApart updates two sets in turn with one optimizer, and each with one of its own.
func optimizerKeepsApart(t *testing.T, kind func() expert.Optimizer) {
	a, gradsA := parameters(3, 20, 4)
	b, gradsB := parameters(4, 31, 4)
	aloneA, _ := parameters(3, 20, 4)
	aloneB, _ := parameters(4, 31, 4)
	both, ofA, ofB := kind(), kind(), kind()
	for i := range gradsA {
		both.Update(a, gradsA[i])
		both.Update(b, gradsB[i])
		ofA.Update(aloneA, gradsA[i])
		ofB.Update(aloneB, gradsB[i])
	}
	require.Equal(t, aloneA.Value, a.Value)
	require.Equal(t, aloneB.Value, b.Value)
}

// optimizerRepeats: ranks that hold copies of parameters must stay alike.
func optimizerRepeats(t *testing.T, kind func() expert.Optimizer) {
	p, grads := parameters(5, 77, 5)
	q, _ := parameters(5, 77, 5)
	a, b := kind(), kind()
	for _, g := range grads {
		a.Update(p, g)
	}
	for _, g := range grads {
		b.Update(q, g)
	}
	require.Equal(t, p.Value, q.Value)
}

func optimizerEmpty(t *testing.T, kind func() expert.Optimizer) {
	p, _ := parameters(6, 0, 0)
	require.NotPanics(t, func() { kind().Update(p, nil) })
}

// optimizerExchanged: a layer may exchange the memory of values between updates; what is remembered
// of them goes by the set.
func optimizerExchanged(t *testing.T, kind func() expert.Optimizer) {
	p, grads := parameters(7, 9, 2)
	q, _ := parameters(7, 9, 2)
	a, b := kind(), kind()
	for _, g := range grads {
		a.Update(p, g)
		b.Update(q, g)
		q.Value = slices.Clone(q.Value)
	}
	require.Equal(t, p.Value, q.Value)
}

// optimizerValidates asks one of two optimizers for faults before each update.
func optimizerValidates(t *testing.T, kind func() expert.Optimizer) {
	p, grads := parameters(8, 12, 3)
	q, _ := parameters(8, 12, 3)
	a, b := kind(), kind()
	asked, ok := b.(expert.Validator)
	if !ok {
		t.Skip("it cannot be asked")
	}
	for _, g := range grads {
		a.Update(p, g)
		require.NoError(t, asked.Validate())
		b.Update(q, g)
	}
	require.Equal(t, p.Value, q.Value)
}
