package parameters_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/param"
)

// listed is what a rank lists of a layer of two copies of two ranks, which host two experts and
// one.
func listed(t *testing.T, copyNumber, rank int, o expert.Stateful) *param.State {
	t.Helper()
	sets := parameters.Sets{
		Gate: setOf(0, 1, 3), Shared: setOf(50, 1, 2), Gains: setOf(70, 3),
		Experts: []*param.Set{setOf(0, 1, 2), setOf(2, 1, 2)},
	}
	if rank == 1 {
		sets.Experts = []*param.Set{setOf(4, 1, 2)}
	}
	table := parameters.New(parameters.Config{
		Sets: sets, Gate: gateOf(t), Placement: alltoall.Hosted([]int{2, 1}), Rank: rank,
		Copy: copyNumber, Copies: 2, Number: 3,
	})
	state, err := table.List(o).State()
	require.NoError(t, err)
	return state
}

// TestEachTensorHasOneWriter: the copies write experts in turn, and all ranks what all hold, the
// rank of the layer's number the first of them.
func TestEachTensorHasOneWriter(t *testing.T) {
	writers := map[string][]int{}
	for r := range 4 {
		for _, e := range listed(t, r/2, r%2, nil).Entries {
			if e.Writer {
				writers[e.Name] = append(writers[e.Name], r)
			}
		}
	}
	require.Equal(t, map[string][]int{
		"gate.w": {3}, "balance.bias": {0}, "shared.w": {1}, "compression.w": {2},
		"experts.0.w": {0}, "experts.1.w": {2}, "experts.2.w": {1},
	}, writers)
}

// TestEntriesAreTheMemoryOfTheSets, each expert's part of it, with room for no more.
func TestEntriesAreTheMemoryOfTheSets(t *testing.T) {
	adam := expert.NewAdam(0.1)
	state := listed(t, 0, 0, adam)
	data := map[string]any{}
	for _, e := range state.Entries {
		data[e.Name] = e.Data
	}
	require.Equal(t, []float32{2, 3}, data["experts.1.w"])
	require.Equal(t, []float32{0, 0}, data["optimizer.experts.1.w.v"])
	require.Equal(t, []float64{1}, data["optimizer.experts.beta2_power"])
	require.Equal(t, 2, cap(data["experts.0.w"].([]float32)))
	data["optimizer.experts.beta2_power"].([]float64)[0] = 0.5
	require.NoError(t, state.Loaded())
	data["optimizer.experts.beta2_power"].([]float64)[0] = math.Inf(1)
	require.ErrorContains(t, state.Loaded(), "optimizer.experts.beta2_power is +Inf, want a finite number")
}

// TestWhatAnOptimizerDoesNotHoldOfAFrozenSet is made for a name of it alone.
func TestWhatAnOptimizerDoesNotHoldOfAFrozenSet(t *testing.T) {
	sets := []*param.Set{setOf(0, 2, 2), setOf(4, 1, 2), setOf(9, 3)}
	for _, set := range sets {
		set.Frozen = true
	}
	adam := expert.NewAdam(0.1)
	adam.Update(sets[2], make([]float32, 3)) // before it froze
	list := parameters.NewLister(0, 1, 0, adam)
	list.AddExperts("experts.", parameters.Experts{Sets: sets[:2], First: 5, Copies: 1})
	list.AddSet("gate.", sets[2])
	state, err := list.State()
	require.NoError(t, err)
	require.Equal(t, "experts.5.w experts.6.w experts.7.w gate.w optimizer.gate.w.m optimizer.gate.w.v "+
		"optimizer.gate.beta1_power optimizer.gate.beta2_power", names(state.Entries))
	for _, name := range []string{"other", "experts.5.w.m", "optimizer.gate.w.x", "optimizer.experts.5.v.m", "optimizer.experts.4.w.m"} {
		require.Empty(t, state.Make(name), name)
	}
	made := state.Make("optimizer.experts.6.w.m")
	require.Equal(t, "optimizer.experts.5.w.m optimizer.experts.5.w.v optimizer.experts.6.w.m optimizer.experts.6.w.v "+
		"optimizer.experts.7.w.m optimizer.experts.7.w.v optimizer.experts.beta1_power optimizer.experts.beta2_power", names(made))
	require.Empty(t, state.Make("optimizer.experts.5.w.m"), "they have been made")
	made[4].Data.([]float32)[1] = 8
	made[6].Data.([]float64)[0] = 0.25
	require.NoError(t, state.Loaded())
	kept := adam.State(sets[1])
	require.Equal(t, []float32{0, 8}, kept.Moments[0].Data)
	require.Equal(t, 0.25, *kept.Scalars[0].Value)
	require.Equal(t, 0.25, *adam.State(sets[0]).Scalars[0].Value)
}

func names(list []param.Entry) string {
	text := make([]string, len(list))
	for i, e := range list {
		text[i] = e.Name
	}
	return strings.Join(text, " ")
}

// TestEntriesThatDoNotFit are all listed.
func TestEntriesThatDoNotFit(t *testing.T) {
	list := parameters.NewLister(0, 1, 0, nil)
	list.AddSet("a.", setOf(0, 2))
	list.AddSet("a.", setOf(0, 2))
	list.Add(param.Entry{Name: "short", Shape: []int{3}, Data: make([]int64, 2)})
	list.Add(param.Entry{Name: "type", Shape: []int{2}, Data: make([]int32, 2)})
	_, err := list.State()
	for _, text := range []string{
		`two tensors are called "a.w"`, "short has 2 elements, want 3 for its shape [3]", "type is a []int32, want []float32",
	} {
		require.ErrorContains(t, err, text)
	}
}

// TestStateOfNoOptimizer is none; of one that cannot tell it is an error.
func TestStateOfNoOptimizer(t *testing.T) {
	s, err := parameters.Stateful(nil)
	require.NoError(t, err)
	require.Nil(t, s)
	_, err = parameters.Stateful((*expert.SGD)(nil))
	require.ErrorContains(t, err, "the optimizer is a nil *expert.SGD")
	_, err = parameters.Stateful(struct{ expert.Optimizer }{})
	require.ErrorContains(t, err, fmt.Sprintf("%T is no expert.Stateful", struct{ expert.Optimizer }{}))
}

// TestMomentsThatHaveMoved: a state lists moments where they were; once they are kept in another
// way it can neither be saved nor loaded.
func TestMomentsThatHaveMoved(t *testing.T) {
	sgd, set := expert.NewSGD(0.1), setOf(0, 2)
	sgd.Momentum = 0.9
	list := parameters.NewLister(0, 1, 0, sgd)
	list.AddSet("a.", set)
	state, err := list.State()
	require.NoError(t, err)
	sgd.Update(set, []float32{1, 2})
	require.NoError(t, state.Current())
	require.NoError(t, state.Loaded())
	sgd.Moments = expert.FP8Moments
	sgd.Update(set, []float32{1, 2})
	require.ErrorContains(t, state.Current(), `*expert.SGD keeps moment "v" elsewhere since this State: call State again`)
	require.ErrorContains(t, state.Loaded(), "call State again")
}

// TestMomentsOfExpertsElsewhere: a load asks each rank for the moments of all experts, most of
// which other ranks host. That makes nothing and costs little; those of its own are made at once.
func TestMomentsOfExpertsElsewhere(t *testing.T) {
	for rank, own := range [][]string{{"0", "1"}, {"2"}} {
		adam := expert.NewAdam(0.1)
		var sets []*param.Set
		for range own {
			set := setOf(1, 1, 2)
			set.Frozen = true
			sets = append(sets, set)
		}
		l := parameters.NewLister(rank, 2, 0, adam)
		l.AddExperts("experts.", parameters.Experts{Sets: sets, First: 2 * rank, Copies: 1})
		state, err := l.State()
		require.NoError(t, err)
		for _, name := range []string{
			fmt.Sprintf("optimizer.experts.%d.w.m", 2-2*rank), "optimizer.experts.3.w.m", "optimizer.experts.-1.w.m",
			"experts.0.w", "optimizer.gate.0.w.m",
		} {
			require.Empty(t, state.Make(name), name)
			require.False(t, adam.Holds(sets[0]), name)
		}
		last := own[len(own)-1]
		require.Len(t, state.Make("optimizer.experts."+last+".w.v"), 2*len(own)+2, "and two scalars")
		require.True(t, adam.Holds(sets[0]))
		require.Empty(t, state.Make("optimizer.experts."+last+".w.m"), "made already")

		scalars := parameters.NewLister(rank, 2, 0, expert.NewAdam(0.1))
		scalars.AddExperts("experts.", parameters.Experts{Sets: sets, First: 2 * rank, Copies: 1})
		state, err = scalars.State()
		require.NoError(t, err)
		require.Len(t, state.Make("optimizer.experts.beta1_power"), 2*len(own)+2)
	}
}

// TestCodesOfMoments: each expert's part of them is an entry, whatever set it is in.
func TestCodesOfMoments(t *testing.T) {
	adam := expert.NewAdam(0.1)
	adam.Moments = expert.FP8Moments
	sets := []*param.Set{setOf(0, 2, 3), setOf(6, 1, 3)}
	for i, set := range sets {
		set.Kind = param.Expert
		grad := make([]float32, len(set.Value))
		for j := range grad {
			grad[j] = float32(3*i + j + 1)
		}
		adam.Update(set, grad)
	}
	gate := setOf(0, 2, 3)
	l := parameters.NewLister(0, 1, 0, adam)
	l.AddExperts("experts.", parameters.Experts{Sets: sets, Copies: 1})
	l.AddSet("gate.", gate)
	state, err := l.State()
	require.NoError(t, err)
	data := map[string][]byte{}
	for _, e := range state.Entries {
		if codes, ok := e.Data.([]byte); ok {
			require.Equal(t, []int{len(codes)}, e.Shape)
			data[e.Name] = codes
		}
	}
	require.Len(t, data, 2*4)
	require.Len(t, data["optimizer.experts.1.w.m.fp8"], 5+3)
	require.Len(t, data["optimizer.gate.w.v.fp8"], 5+6)
	whole := adam.State(sets[0]).Moments[0].Codes
	require.Equal(t, whole[8:], data["optimizer.experts.1.w.m.fp8"])
	require.Same(t, &whole[8], &data["optimizer.experts.1.w.m.fp8"][0])
	require.Equal(t, data["optimizer.experts.1.w.m.fp8"], data["optimizer.experts.2.w.m.fp8"], "of the same gradients")

	sets[0].Kind = param.Dense // so Adam makes codes of the whole tensor
	other := expert.NewAdam(0.1)
	other.Moments = expert.FP8Moments
	l = parameters.NewLister(0, 1, 0, other)
	l.AddExperts("experts.", parameters.Experts{Sets: sets[:1], Copies: 1})
	_, err = l.State()
	require.ErrorContains(t, err, `moment "m.fp8" of *expert.Adam has 11 bytes for 6 parameters, want 16 for 2 parts of each tensor`)
}
