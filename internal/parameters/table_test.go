package parameters_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// setOf is one tensor "w" that holds first, first+1, …
func setOf(first float32, shape ...int) *param.Set {
	s := param.NewSet(param.Tensor{Name: "w", Shape: shape})
	for i := range s.Value {
		s.Value[i] = first + float32(i)
	}
	return s
}

// gateOf is a gate for three experts that balances their load by a bias.
func gateOf(t *testing.T) router.Gate {
	t.Helper()
	top := router.TopK{K: 1, Score: router.Sigmoid, BiasRate: 0.5}
	gate, err := top.New(router.Shape{Dim: 1, Experts: 3})
	require.NoError(t, err)
	copy(gate.(router.Balancer).Bias(), []float32{0.5, -0.5, 0})
	return gate
}

// tableOf is that of a rank of two, which host two experts and one, those of rank 0 in two groups.
func tableOf(t *testing.T, rank int, comm *collective.Comm) (*parameters.Table, parameters.Sets) {
	t.Helper()
	sets := parameters.Sets{
		Gate: setOf(0, 1, 3), Shared: setOf(50, 1, 2), Gains: setOf(70, 3),
		Experts: []*param.Set{setOf(0, 1, 2), setOf(2, 1, 2)},
	}
	if rank == 1 {
		sets.Experts = []*param.Set{setOf(4, 1, 2)}
	}
	return parameters.New(parameters.Config{
		Sets: sets, Gate: gateOf(t), Placement: alltoall.Hosted([]int{2, 1}), Rank: rank, Comm: comm,
	}), sets
}

// onTwoRanks has each of two ranks list something of its table.
func onTwoRanks(
	t *testing.T,
	list func(*parameters.Table, parameters.Sets) ([]parameters.Tensor, error),
) (lists [2][]parameters.Tensor) {
	t.Helper()
	ranktest.Succeed(t, ranktest.Errors(t, len(lists), func(tr transport.Transport) (err error) {
		table, sets := tableOf(t, int(tr.Rank()), collective.New(tr))
		lists[tr.Rank()], err = list(table, sets)
		return err
	}))
	return lists
}

// TestParametersOfTwoRanks are the experts of both together, and what each has of its own.
func TestParametersOfTwoRanks(t *testing.T) {
	want := []parameters.Tensor{
		{Name: "gate.w", Kind: param.Gate, Shape: []int{1, 3}, Data: []float32{0, 1, 2}},
		{Name: "expert.w", Kind: param.Expert, Shape: []int{3, 2}, Data: []float32{0, 1, 2, 3, 4, 5}},
		{Name: "shared.w", Kind: param.Shared, Shape: []int{1, 2}, Data: []float32{50, 51}},
		{Name: "compression.w", Kind: param.Gain, Shape: []int{3}, Data: []float32{70, 71, 72}},
		{Name: "balance.bias", Kind: param.Bias, Shape: []int{3}, Data: []float32{0.5, -0.5, 0}},
	}
	lists := onTwoRanks(t, func(table *parameters.Table, _ parameters.Sets) ([]parameters.Tensor, error) {
		return table.Parameters(t.Context())
	})
	require.Equal(t, [2][]parameters.Tensor{want, want}, lists)
}

// TestVectorsOfTwoRanks are listed as the parameters are, without a bias.
func TestVectorsOfTwoRanks(t *testing.T) {
	lists := onTwoRanks(t, func(table *parameters.Table, sets parameters.Sets) ([]parameters.Tensor, error) {
		v := parameters.Vectors{
			Gate: []float32{9, 8, 7}, Shared: []float32{6, 5}, Gains: []float32{4, 3, 2},
			Experts: sets.Values().Experts,
		}
		return table.Whole(t.Context(), v)
	})
	require.Equal(t, lists[0], lists[1])
	data := map[string][]float32{}
	for _, tensor := range lists[0] {
		data[tensor.Name] = tensor.Data
	}
	require.Equal(t, map[string][]float32{
		"gate.w": {9, 8, 7}, "expert.w": {0, 1, 2, 3, 4, 5}, "shared.w": {6, 5},
		"compression.w": {4, 3, 2},
	}, data)
}

// TestLoad takes each rank's part, whatever groups its experts are in.
func TestLoad(t *testing.T) {
	whole := []parameters.Tensor{
		{Name: "expert.w", Shape: []int{3, 2}, Data: []float32{9, 8, 7, 6, 5, 4}},
		{Name: "compression.w", Shape: []int{3}, Data: []float32{1, 2, 3}},
	}
	first, of0 := tableOf(t, 0, nil)
	require.NoError(t, first.Load(whole))
	require.Equal(t, [][]float32{{9, 8}, {7, 6}}, of0.Values().Experts)
	require.Equal(t, []float32{1, 2, 3}, of0.Gains.Value)
	require.Equal(t, []float32{50, 51}, of0.Shared.Value, "it was not named")
	second, of1 := tableOf(t, 1, nil)
	require.NoError(t, second.Load(whole))
	require.Equal(t, [][]float32{{5, 4}}, of1.Values().Experts)
}

func TestLoadOfTheBias(t *testing.T) {
	gate := gateOf(t)
	table := parameters.New(parameters.Config{Sets: parameters.Sets{Experts: []*param.Set{nil}}, Gate: gate})
	bias := parameters.Tensor{Name: "balance.bias", Shape: []int{3}, Data: []float32{1, 2, 3}}
	require.NoError(t, table.Load([]parameters.Tensor{bias}))
	require.Equal(t, bias.Data, gate.(router.Balancer).Bias())
}

// TestLoadChangesNothing if any tensor is wrong, and says of each what is.
func TestLoadChangesNothing(t *testing.T) {
	table, sets := tableOf(t, 0, nil)
	right := parameters.Tensor{Name: "expert.w", Shape: []int{3, 2}, Data: make([]float32, 6)}
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	wrong := map[string]parameters.Tensor{
		`the layer has no tensor "gate.v"`:                               {Name: "gate.v"},
		`tensor "expert.w" comes twice`:                                  right,
		`tensor "shared.w" has shape [2 1] and 2 elements, want [1 2]`:   {Name: "shared.w", Shape: []int{2, 1}, Data: make([]float32, 2)},
		`tensor "gate.w" has shape [1 3] and 2 elements, want [1 3]`:     {Name: "gate.w", Shape: []int{1, 3}, Data: make([]float32, 2)},
		`tensor "compression.w" has NaN at element 1, want finite`:       {Name: "compression.w", Shape: []int{3}, Data: []float32{1, nan, 2}},
		`tensor "balance.bias" has -Inf at element 2, want finite`:       {Name: "balance.bias", Shape: []int{3}, Data: []float32{1, 2, inf}},
		`tensor "expert.w" has NaN at element 5, want finite`:            {Name: "expert.w", Shape: []int{3, 2}, Data: []float32{1, 2, 3, 4, 5, nan}},
		`tensor "expert.w" has shape [2 3] and 6 elements, want [3 2]`:   {Name: "expert.w", Shape: []int{2, 3}, Data: make([]float32, 6)},
		`tensor "expert.w" has shape [0 9223372036854775807] and 0 elem`: {Name: "expert.w", Shape: []int{0, math.MaxInt}},
	}
	list := []parameters.Tensor{right}
	for want, tensor := range wrong {
		first := []parameters.Tensor{right, tensor}
		if tensor.Name == right.Name && want != `tensor "expert.w" comes twice` {
			first = []parameters.Tensor{tensor}
		} else {
			list = append(list, tensor)
		}
		require.ErrorContains(t, table.Load(first), want)
	}
	err := table.Load(list)
	for _, tensor := range list[1:] {
		require.ErrorContains(t, err, fmt.Sprintf("tensor %q", tensor.Name))
	}
	require.Equal(t, [][]float32{{0, 1}, {2, 3}}, sets.Values().Experts)
	require.Equal(t, []float32{70, 71, 72}, sets.Gains.Value)
}

// TestLoadListsFewFaults of many.
func TestLoadListsFewFaults(t *testing.T) {
	table, _ := tableOf(t, 0, nil)
	list := make([]parameters.Tensor, 100)
	for i := range list {
		list[i].Name = fmt.Sprint("none", i)
	}
	err := table.Load(list)
	require.ErrorContains(t, err, `no tensor "none19"`)
	require.ErrorContains(t, err, "and 80 more faults")
	require.NotContains(t, err.Error(), "none20")
}
