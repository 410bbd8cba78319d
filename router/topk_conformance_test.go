package router_test

import (
	"fmt"
	"math"
	"testing"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/router/routertest"
)

var losses = []router.Loss{router.Balance(0.5), router.ZLoss(0.25)}

// TestTopK runs the suite on every combination of score, renormalisation and drop rule, with
// losses.
func TestTopK(t *testing.T) {
	for score := router.SoftmaxAfter; score <= router.SqrtSoftplus; score++ {
		for renorm := router.RenormalizeByScore; renorm <= router.RenormalizeAfterDrop; renorm++ {
			for drop := router.ByPosition; drop <= router.ByProbability; drop++ {
				config := router.TopK{K: 2, Score: score, Renormalize: renorm, Drop: drop, CapacityFactor: 1, Losses: losses, Scale: 1.5}
				t.Run(fmt.Sprintf("%v/%v/%v", score, renorm, drop), func(t *testing.T) {
					routertest.Run(t, func() router.Router { return config })
				})
			}
		}
	}
}

// TestTopKDropless runs the suite without capacity: without losses, and with each alone.
func TestTopKDropless(t *testing.T) {
	for score := router.SoftmaxAfter; score <= router.SqrtSoftplus; score++ {
		for i, k := range []int{1, 2, 3} {
			config := router.TopK{K: k, Score: score, Losses: losses[:i:i][max(i-1, 0):]}
			t.Run(fmt.Sprintf("%v/k=%d", score, k), func(t *testing.T) {
				routertest.Run(t, func() router.Router { return config })
			})
		}
	}
}

// TestForced runs the suite on routes that leave some tokens and some experts alone.
func TestForced(t *testing.T) {
	routertest.Run(t, func() router.Router {
		return router.Forced{Route: func(token int) []router.ExpertID {
			return []router.ExpertID{0}[:token%2]
		}}
	})
}

// reworded is a router from outside whose errors have words of their own.
type reworded struct{ router.TopK }

func (r reworded) New(s router.Shape) (router.Gate, error) {
	g, err := r.TopK.New(s)
	return rewordedGate{g}, err
}

type rewordedGate struct{ router.Gate }

func (g rewordedGate) Route(x blas32.General, b router.Batch) (*router.Decision, error) {
	for t := range x.Rows {
		for _, v := range x.Data[t*x.Stride : t*x.Stride+x.Cols] {
			if (len(b.Padding) == 0 || !b.Padding[t]) && (math.IsNaN(float64(v)) || math.IsInf(float64(v), 0)) {
				return nil, fmt.Errorf("outside: row %d holds %v", t, v)
			}
		}
	}
	return g.Gate.Route(x, b)
}

// TestOtherWordsConform: the suite asks for the token in an error, not for this package's words.
func TestOtherWordsConform(t *testing.T) {
	routertest.Run(t, func() router.Router { return reworded{router.TopK{K: 2, Losses: losses}} })
}
