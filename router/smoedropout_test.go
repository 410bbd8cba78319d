package router

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSMoEDropoutFollowsItsSchedule counts the experts of each token at some steps, and in
// evaluation.
func TestSMoEDropoutFollowsItsSchedule(t *testing.T) {
	config := SMoEDropout{Schedule: Schedule{CurveLinear, 4, 8, 100}}
	g, err := config.New(Shape{Dim: 5, Experts: 8, Seed: 1})
	require.NoError(t, err)
	require.Nil(t, g.Params(), "nothing to train")
	for step, want := range map[int]int{0: 4, 50: 6, 100: 8, 200: 8} {
		d, err := g.Route(identity(5), Batch{Ends: []int{5}, Train: true, Step: step})
		require.NoError(t, err)
		require.Len(t, d.Token, 5*want, "step %d", step)
		eval, err := g.Route(identity(5), Batch{Ends: []int{5}, Step: step})
		require.NoError(t, err)
		require.Len(t, eval.Token, 5*8)
	}
	config.K, config.Schedule.To = 3, 0
	g, err = config.New(Shape{Dim: 5, Experts: 8, Seed: 1})
	require.NoError(t, err)
	d, err := g.Route(identity(5), Batch{Ends: []int{5}, Train: true})
	require.NoError(t, err)
	require.Len(t, d.Token, 15)

	_, err = SMoEDropout{TopK: TopK{K: 4}, Schedule: Schedule{Curve: 9, From: 0, To: 5, Steps: -1}}.New(Shape{Dim: 1, Experts: 8})
	for _, says := range []string{"unknown curve 9", "from 0 to 5 experts, want 1 to 4", "-1 steps"} {
		require.ErrorContains(t, err, says)
	}
}

func TestMoLA(t *testing.T) {
	m := MoLA{2, 4, 6, 8}
	var got []int
	for layer := range 32 {
		got = append(got, m.Experts(layer, 32))
	}
	require.Equal(t, []int{2, 2, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4, 6, 6, 6, 6, 6, 6, 6, 6, 8, 8, 8, 8, 8, 8, 8, 8}, got)
	got = nil
	for layer := range 11 {
		got = append(got, MoLA{1, 2, 3}.Experts(layer, 11))
	}
	require.Equal(t, []int{1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3}, got)
	require.Panics(t, func() { m.Experts(3, 3) })
	for layer := range 4 {
		g, err := m.Router(3, m.Experts(layer, 4)).New(Shape{Dim: 2, Experts: m.Experts(layer, 4)})
		require.NoError(t, err)
		d, err := g.Route(identity(2), Batch{Ends: []int{2}})
		require.NoError(t, err)
		require.Len(t, d.Token, 2*min(3, m[layer]))
	}
}
