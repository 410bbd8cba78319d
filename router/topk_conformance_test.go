package router_test

import (
	"fmt"
	"testing"

	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/router/routertest"
)

var losses = []router.Loss{router.Balance(0.5), router.ZLoss(0.25)}

// TestTopK runs the suite on every combination of score, renormalisation and drop rule, with losses.
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
