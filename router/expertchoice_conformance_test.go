package router_test

import (
	"testing"

	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/router/routertest"
)

// TestExpertChoice runs the suite on experts that choose within token groups.
func TestExpertChoice(t *testing.T) {
	for name, config := range map[string]router.ExpertChoice{
		"softmax": {}, "sigmoid": {Score: router.Sigmoid, CapacityFactor: 1}, "least": {CapacityFactor: 0.5, MinCapacity: 2},
		"capped": {CapacityFactor: 1, Cap: 1}, "capped sigmoid": {Cap: 3, Score: router.Sigmoid},
	} {
		t.Run(name, func(t *testing.T) {
			routertest.Run(t, func() router.Router { return config }, routertest.TiesElsewhere, routertest.TokensTogether)
		})
	}
}
