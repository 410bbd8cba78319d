package router

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

func TestForcedRoutes(t *testing.T) {
	routes := [][]ExpertID{{2, 0}, nil, {2}, {1, 2, 0}}
	g, err := Forced{Route: func(token int) []ExpertID { return routes[token] }}.New(Shape{Dim: 1, Experts: 4})
	require.NoError(t, err)
	require.Nil(t, g.Params())
	x := blas32.General{Rows: 4, Cols: 1, Stride: 1, Data: make([]float32, 4)}
	d, err := g.Route(x, Batch{Ends: []int{4}, Train: true})
	require.NoError(t, err)
	require.NoError(t, d.Validate())
	require.Equal(t, []int{2, 3, 6, 6}, d.Ends)
	require.Equal(t, []int32{0, 3, 3, 0, 2, 3}, d.Token)
	require.Equal(t, []float32{.5, 1. / 3, 1. / 3, .5, 1, 1. / 3}, d.Weight)
	require.Equal(t, []int{2, 1, 3, 0}, d.Counts)

	routes[2] = []ExpertID{4}
	_, err = g.Route(x, Batch{Ends: []int{4}, Train: true})
	require.EqualError(t, err, "router: token 2 is forced to expert 4 of 4")
	routes[2] = []ExpertID{1, 3, 1}
	_, err = g.Route(x, Batch{Ends: []int{4}, Train: true})
	require.EqualError(t, err, "router: token 2 is forced to expert 1 twice")

	_, err = Forced{}.New(Shape{})
	require.ErrorContains(t, err, "without Route")
	require.ErrorContains(t, err, "0 experts")
}
