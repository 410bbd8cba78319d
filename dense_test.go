package switchyard

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
)

// denseSets are two sets of a program's own.
func denseSets() []NamedSet {
	return []NamedSet{
		{"embed", param.NewSet(param.Tensor{Name: "w", Shape: []int{3, 2}}, param.Tensor{Name: "b", Shape: []int{2}})},
		{"norm", param.NewSet(param.Tensor{Name: "scale", Shape: []int{4}})},
	}
}

// updateAll moves all values by a gradient of ones.
func updateAll(o expert.Optimizer, sets []NamedSet) {
	for _, s := range sets {
		grad := make([]float32, len(s.Set.Value))
		for i := range grad {
			grad[i] = 1
		}
		o.Update(s.Set, grad)
	}
}

// TestDenseStateGoesOnWithTheSameBits in other sets and another optimizer, written once by one of
// the ranks.
func TestDenseStateGoesOnWithTheSameBits(t *testing.T) {
	straight, o := denseSets(), expert.NewAdam(0.1)
	updateAll(o, straight)
	kept := saved{}
	worlds := inprocWorlds(3)
	defer closeWorlds(worlds)
	for _, w := range worlds {
		d, err := NewDense(w, straight...)
		require.NoError(t, err)
		state, err := d.State(o)
		require.NoError(t, err)
		require.NoError(t, kept.add(state))
		require.Len(t, state.Entries, 3*3+2*2)
	}
	require.Len(t, kept, 3*3+2*2)
	require.Equal(t, []int{3, 2}, kept["optimizer.embed.w.v"].Shape)
	require.Equal(t, param.Training, kept["optimizer.norm.beta2_power"].Role)
	updateAll(o, straight)

	resumed, other := denseSets(), expert.NewAdam(0.1)
	d, err := NewDense(worlds[0], resumed...)
	require.NoError(t, err)
	state, err := d.State(other)
	require.NoError(t, err)
	require.NoError(t, kept.load(state))
	updateAll(other, resumed)
	for i := range straight {
		require.Equal(t, straight[i].Set.Value, resumed[i].Set.Value)
	}
}

func TestDenseStateWithGradientsWaiting(t *testing.T) {
	alone(t, func(w *World) {
		sets := denseSets()
		d, err := NewDense(w, sets...)
		require.NoError(t, err)
		sets[1].Set.Grad.Leaf(0)
		_, err = d.State(nil)
		require.ErrorContains(t, err, `rank 0: Dense.State: gradients of "norm" wait`)
		sets[1].Set.Grad.Reset()
		state, err := d.State(nil)
		require.NoError(t, err)
		require.Len(t, state.Entries, 3)
		sets[0].Set.Grad.Leaf(0)
		require.ErrorContains(t, state.Loaded(), `rank 0: Dense.State.Loaded: gradients of "embed" wait`)
	})
	_, err := new(Dense).State(nil)
	require.ErrorContains(t, err, "Dense.State: the parameters were not grouped by NewDense")
}

func TestDenseOfWrongSets(t *testing.T) {
	_, err := NewDense(nil)
	require.ErrorContains(t, err, "the world was not made by")
	alone(t, func(w *World) {
		s := denseSets()
		for want, sets := range map[string][]NamedSet{
			`set 1, "none", is nil`:          {s[0], {"none", nil}},
			"set 0 has no name":              {{"", s[0].Set}},
			`set 1, "b", is that of "a" too`: {{"a", s[0].Set}, {"b", s[0].Set}},
			`two tensors are called "a.b"`:   {{"a", s[0].Set}, {"a", param.NewSet(param.Tensor{Name: "b"})}},
			`two tensors are called "a.b.c"`: {{"a", param.NewSet(param.Tensor{Name: "b.c"})}, {"a.b", param.NewSet(param.Tensor{Name: "c"})}},
		} {
			_, err := NewDense(w, sets...)
			require.ErrorContains(t, err, want)
		}
	})
}

// TestAnOldDenseState cannot be saved.
func TestAnOldDenseState(t *testing.T) {
	alone(t, func(w *World) {
		d, sets, err := twoDenseSets(w)
		require.NoError(t, err)
		adam := expert.NewAdam(0.1)
		state, err := d.State(adam)
		require.NoError(t, err)
		require.NoError(t, state.Current())
		for _, set := range sets {
			set.Grad.Leaf(0)[0] = 1
		}
		require.ErrorContains(t, state.Current(), `Dense.State.Current: gradients of "embed" wait`)
		require.NoError(t, d.SumGradients(t.Context(), []int{1}))
		require.NoError(t, d.Step(t.Context(), adam))
		require.ErrorContains(t, state.Current(), "call State for each save: optimizer.embed.beta1_power was 1 and is 0.8999")
	})
}
