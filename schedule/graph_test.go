package schedule

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGraphValidate(t *testing.T) {
	g := &Graph{Tasks: []Task{{Op: Ops, Resource: 7}, {After: []int{1}}, {After: []int{-1}}}}
	err := g.Validate()
	for _, says := range []string{"task 0: op 13 on resource 7", "task 1 (dense 0.0) comes after task 1", "task 2 (dense 0.0) comes after task -1"} {
		require.ErrorContains(t, err, says)
	}
	require.ErrorContains(t, (&Graph{Tasks: []Task{{Resource: Resources}}}).Validate(), "task 0: dense on resource 3")
	require.ErrorContains(t, (&Graph{Tasks: []Task{{Op: Ops}}}).Validate(), "task 0: op 13 on compute")
	require.NoError(t, (&Graph{Tasks: []Task{{Op: Ops - 1, Resource: Resources - 1}, {After: []int{0}}}}).Validate())
	require.Equal(t, "(empty)\n", (&Graph{}).String())
}

func TestNames(t *testing.T) {
	names := map[string]bool{}
	for op := range Op(Ops) {
		names[op.String()] = true
	}
	require.Len(t, names, Ops, "each operation has a name of its own")
	require.Equal(t, "op 13", Op(Ops).String())
	require.Equal(t, "forward backward", fmt.Sprint(Forward, " ", Backward))
	for r, want := range []string{"compute", "inter", "intra", "resource 3"} {
		require.Equal(t, want, Resource(r).String())
	}
	require.Equal(t, Intra, Gather.Resource())
	require.Equal(t, Compute, Shared.Resource())
	require.Equal(t, "∂expert 3.2′", fmt.Sprint(&Task{Op: Expert, Pass: Backward, Layer: 3, Chunk: 2, Batch: 1}))
}
