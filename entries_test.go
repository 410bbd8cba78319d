package switchyard

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/param"
)

// TestNamesOfTheState do not depend on the number of ranks.
func TestNamesOfTheState(t *testing.T) {
	j := resumable{cfg: resumables()["bias"], optimizer: stateful()["adam"]}
	j.cfg.Shared = expert.FFN{Hidden: 2}
	j.cfg.Experts = 2
	j.cfg.Compression = Compression{When: CompressAlways, LSH: lsh.Config{Rate: 0.5, Compensation: lsh.LearnedGain}}
	var want []string
	add := func(prefix, set string, names ...string) {
		for _, n := range names {
			n = prefix + n
			want = append(want, n, "optimizer."+n+".m", "optimizer."+n+".v")
		}
		if set != "" {
			want = append(want, "optimizer."+set+"beta1_power", "optimizer."+set+"beta2_power")
		}
	}
	add("gate.", "gate.", "gate")
	add("experts.0.", "", "w_gate", "w_up", "w_down")
	add("experts.1.", "experts.", "w_gate", "w_up", "w_down")
	add("shared.", "shared.", "w1", "b1", "w2", "b2")
	add("compression.", "compression.", "gain")
	want = append(want, "balance.bias", "counters.steps")
	slices.Sort(want)
	for _, ranks := range []int{1, 3} {
		got := j.train(t, ranks, nil, 0, 1)
		require.Equal(t, want, slices.Sorted(maps.Keys(got)))
		for name, e := range got {
			isParameter := !strings.HasPrefix(name, "optimizer.") && name != "counters.steps"
			require.Equal(t, isParameter, e.Role == param.Parameter, name)
		}
		require.Equal(t, []int{bitsDim, 3}, got["experts.1.w_up"].Shape)
		require.Equal(t, param.Expert, got["optimizer.experts.1.w_up.m"].Kind)
		require.Equal(t, []int64{1}, got["counters.steps"].Data)
	}
}

// TestStateAtTheWrongTime is an error that says what to call, and changes nothing.
func TestStateAtTheWrongTime(t *testing.T) {
	alone(t, func(w *World) {
		l, err := NewLayer(w, resumables()["topK"])
		require.NoError(t, err)
		early, err := l.State(nil)
		require.NoError(t, err)
		_, err = l.Forward(t.Context(), randomMatrix(rand.New(rand.NewPCG(1, 1)), 4, bitsDim))
		require.NoError(t, err)
		_, err = l.State(nil)
		require.ErrorContains(t, err, "rank 0: State: a Forward has had no Backward")
		require.NoError(t, l.Discard())
		require.NoError(t, passOf(t, l, &heldPasses{Layer: l}, 0, 0))
		_, err = l.State(nil)
		require.ErrorContains(t, err, "rank 0: State: the gradients of 1 backward passes wait; call Step")
		require.ErrorContains(t, early.Loaded(), "State.Loaded: the gradients of 1 backward passes wait")
		require.NoError(t, l.Step(t.Context(), expert.NewSGD(0.1)))
		_, err = l.State(nil)
		require.NoError(t, err)
	})
	none := new(Layer)
	_, err := none.State(nil)
	require.ErrorContains(t, err, "State: the layer was not made by NewLayer")
}

// TestAnOldState is of no use for a save once the layer has gone on, and says what has changed.
func TestAnOldState(t *testing.T) {
	alone(t, func(w *World) {
		cfg := resumables()["topK"]
		cfg.Compression = compressions()["controlled"]
		l, err := NewLayer(w, cfg)
		require.NoError(t, err)
		adam, nothing := expert.NewAdam(0.1), expert.NewSGD(0.1)
		list := func(o expert.Optimizer) *param.State {
			state, err := l.State(o)
			require.NoError(t, err)
			require.NoError(t, state.Current())
			return state
		}
		withoutOptimizer, ofAdam := list(nil), list(adam)
		require.NoError(t, passOf(t, l, l, 0, 0))
		require.ErrorContains(t, ofAdam.Current(), "State.Current: the gradients of 1 backward passes wait")
		require.NoError(t, l.DiscardGradients())
		err = ofAdam.Current()
		require.ErrorContains(t, err, "rank 0: State.Current: the state is an old one, call State for each save: ")
		require.ErrorContains(t, err, "compression.depth was [0 0 0 0 0 0] and is [")
		require.NotContains(t, err.Error(), "counters.steps")
		require.NoError(t, passOf(t, l, l, 0, 0))
		require.NoError(t, l.Step(t.Context(), adam))
		require.ErrorContains(t, withoutOptimizer.Current(), "counters.steps was 0 and is 1")
		require.ErrorContains(t, ofAdam.Current(), "optimizer.experts.beta1_power was 1 and is 0.8999")
		list(adam)

		require.NoError(t, l.SetFrozen(t.Context(), param.Gate))
		frozen := list(nothing)
		momentum := expert.NewSGD(0.1)
		momentum.Momentum = 0.5
		leftOut := list(momentum)
		require.NoError(t, l.SetFrozen(t.Context()))
		require.NoError(t, leftOut.Loaded())
		require.ErrorContains(t, leftOut.Current(), `what *expert.SGD keeps for "gate." was left out, as it was frozen`)
		require.ErrorContains(t, frozen.Current(), "was left out")
		list(nothing)
	})
}

// plainOptimizer cannot tell its state.
type plainOptimizer struct{}

func (plainOptimizer) Update(*param.Set, []float32) {}

// wrongState is an optimizer with a moment that does not fit, and with scalars that differ between
// sets.
type wrongState struct{ plainOptimizer }

func (wrongState) Holds(*param.Set) bool { return true }

func (wrongState) State(p *param.Set) expert.State {
	n := float64(len(p.Value) % 7)
	return expert.State{Moments: []expert.Moment{{Name: "m", Data: make([]float32, 1)}}, Scalars: []expert.Scalar{{Name: "n", Value: &n}}}
}

func TestStateOfOptimizers(t *testing.T) {
	alone(t, func(w *World) {
		cfg := resumables()["topK"]
		cfg.Overlap.Degree = 4 // six experts in groups of one and of two
		l, err := NewLayer(w, cfg)
		require.NoError(t, err)
		_, err = l.State(plainOptimizer{})
		require.ErrorContains(t, err, "rank 0: State: the state of the optimizer cannot be saved: switchyard.plainOptimizer is no expert.Stateful")
		_, err = l.State((*expert.Adam)(nil))
		require.ErrorContains(t, err, "the optimizer is a nil *expert.Adam")
		_, err = l.State(wrongState{})
		require.ErrorContains(t, err, `moment "m" of switchyard.wrongState has 1 elements for 72 parameters`)
		require.ErrorContains(t, err, `switchyard.wrongState has not the same "n" for all sets of "experts."`)
		state, err := l.State(nil)
		require.NoError(t, err)
		for _, e := range state.Entries {
			require.NotContains(t, e.Name, "optimizer")
		}
	})
}

// TestLoadedOfValuesThatCannotBe names them.
func TestLoadedOfValuesThatCannotBe(t *testing.T) {
	alone(t, func(w *World) {
		cfg := resumables()["topK"]
		cfg.Compression = compressions()["controlled"]
		l, err := NewLayer(w, cfg)
		require.NoError(t, err)
		for name, data := range map[string]any{
			"counters.steps":                        []int64{-1},
			"optimizer.gate.beta1_power":            []float64{math.NaN()},
			"compression.depth.rank-00000-of-00001": []float64{0, 0, 65, 0, 0, 0},
		} {
			state, err := l.State(expert.NewAdam(0.1))
			require.NoError(t, err)
			at := slices.IndexFunc(state.Entries, func(e param.Entry) bool { return e.Name == name })
			require.NotEqual(t, -1, at, name)
			require.NoError(t, state.Entries[at].CopyFrom(param.Entry{Data: data}))
			require.ErrorContains(t, state.Loaded(), strings.TrimSuffix(name, ".rank-00000-of-00001"))
		}
	})
}
