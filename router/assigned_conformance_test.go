package router_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/router/routertest"
)

func TestSinkhornConforms(t *testing.T) {
	for _, config := range []router.Sinkhorn{
		{K: 1}, {K: 2, Losses: losses, Scale: 2}, {K: 3, CapacityFactor: 1, Drop: router.ByProbability},
	} {
		t.Run(fmt.Sprintf("%+v", config), func(t *testing.T) {
			routertest.Run(t, func() router.Router { return config }, routertest.TokensTogether)
		})
	}
}

func TestBASEConforms(t *testing.T) {
	for _, config := range []router.BASE{{}, {Losses: losses, Scale: 0.5}} {
		t.Run(fmt.Sprintf("%+v", config), func(t *testing.T) {
			routertest.Run(t, func() router.Router { return config }, routertest.TokensTogether, routertest.TiesElsewhere)
		})
	}
}

func TestCosineConforms(t *testing.T) {
	for score := router.SoftmaxAfter; score <= router.Sigmoid; score++ {
		for _, learned := range []bool{false, true} {
			config := router.Cosine{
				TopK: router.TopK{K: 2, Score: score, CapacityFactor: 1.25, Losses: losses}, Columns: 3, Temperature: 0.5, Learned: learned,
			}
			t.Run(fmt.Sprintf("%v/learned=%v", score, learned), func(t *testing.T) {
				routertest.Run(t, func() router.Router { return config })
			})
		}
	}
}

func TestGivenRoutesConform(t *testing.T) {
	for _, config := range []router.Router{
		router.Uniform{K: 2}, router.Stochastic{K: 2}, router.Zipf{K: 2, Exponent: 1}, router.Hot{K: 1, Share: 0.5}, router.Hot{K: 2, Expert: 1, Share: 1},
		numbered{router.Hash{}}, numbered{router.Hash{K: 3}},
	} {
		t.Run(fmt.Sprintf("%T%+v", config, config), func(t *testing.T) {
			routertest.Run(t, func() router.Router { return config })
		})
	}
}

func TestSMoEDropoutConforms(t *testing.T) {
	for _, config := range []router.SMoEDropout{
		{}, {TopK: router.TopK{K: 2, Losses: losses, CapacityFactor: 1}},
		{TopK: router.TopK{K: 3, Score: router.SoftmaxBefore}, Schedule: router.Schedule{From: 1, To: 3, Steps: 5}},
	} {
		t.Run(fmt.Sprintf("%+v", config), func(t *testing.T) {
			routertest.Run(t, func() router.Router { return config })
		})
	}
}

func TestSeveralConforms(t *testing.T) {
	routertest.Run(t, func() router.Router {
		return router.Several{Routers: []router.Router{router.TopK{K: 2, Losses: losses}, router.TopK{K: 1}, router.Uniform{K: 1}}}
	})
}

func TestRecordConforms(t *testing.T) {
	to, err := router.NewRecorder(io.Discard)
	require.NoError(t, err)
	routertest.Run(t, func() router.Router {
		return router.Record{Router: router.TopK{K: 2, Losses: losses, CapacityFactor: 1}, To: to}
	})
}

// sameFeatures is a router whose tokens all have the same features, which are broken if the token
// is: the suite's idea of what a gate looks at.
type sameFeatures struct{ router.SideFeatures }

func (r sameFeatures) New(s router.Shape) (router.Gate, error) {
	g, err := r.SideFeatures.New(s)
	return sameFeaturesGate{g, r.Columns}, err
}

type sameFeaturesGate struct {
	router.Gate
	columns int
}

func (g sameFeaturesGate) Route(x blas32.General, b router.Batch) (*router.Decision, error) {
	f := blas32.General{Rows: x.Rows, Cols: g.columns, Stride: g.columns, Data: make([]float32, x.Rows*g.columns)}
	for t := range x.Rows {
		for c := range g.columns {
			f.Data[t*g.columns+c] = float32(c+1) / 2
			if v := x.Data[t*x.Stride+c]; v-v != 0 {
				f.Data[t*g.columns+c] = v
			}
		}
	}
	b.Features = f
	return g.Gate.Route(x, b)
}

func TestSideFeaturesConform(t *testing.T) {
	config := sameFeatures{router.SideFeatures{TopK: router.TopK{K: 2, Score: router.Sigmoid, Losses: losses}, Columns: 3}}
	routertest.Run(t, func() router.Router { return config }, routertest.TiesElsewhere)
}

// numbered is a hash router whose tokens have the signs of their elements for a number.
type numbered struct{ router.Hash }

func (r numbered) New(s router.Shape) (router.Gate, error) {
	g, err := r.Hash.New(s)
	return numberedGate{g}, err
}

type numberedGate struct{ router.Gate }

func (g numberedGate) Route(x blas32.General, b router.Batch) (*router.Decision, error) {
	b.IDs = make([]int32, x.Rows)
	for t := range b.IDs {
		for _, v := range x.Data[t*x.Stride : t*x.Stride+x.Cols] {
			b.IDs[t] *= 2
			if v < 0 {
				b.IDs[t]++
			}
		}
	}
	return g.Gate.Route(x, b)
}
