// Package experttest is the conformance suite of experts and optimizers: it checks the contracts of
// package expert. Every implementation calls [Run] or [RunOptimizer] from its tests.
package experttest

import (
	"math/rand/v2"
	"testing"

	"github.com/switchyard-moe/switchyard/expert"
)

// check is what a case works with.
type check struct {
	*testing.T
	kind expert.Expert
	rng  *rand.Rand
}

// Run runs the suite on the experts that kind returns, which it builds for several shapes. Random
// input comes from a seed that is printed on failure.
func Run(t *testing.T, kind func() expert.Expert) {
	for _, c := range []struct {
		name string
		run  func(check)
	}{
		{"answers have the shape of their rows", shapes},
		{"no rows and experts without rows", empty},
		{"initial parameters depend on seed and number alone", initialParameters},
		{"a row's answer depends on it alone", rowIndependence},
		{"strides change nothing", strides},
		{"each leaf's gradient is that of its rows", leaves},
		{"leaves add up to the whole", leavesAddUp},
		{"passes in flight do not disturb each other", inFlight},
		{"halves of backward passes are the whole", halves},
		{"gradients of other rows", rowGradients},
		{"what a pass holds stays until it is released", held},
		{"frozen parameters get no gradient", frozen},
		{"values may be exchanged for those of other experts", exchangedValues},
		{"inputs are left alone", untouched},
		{"gradients are the slopes of the loss", slopes},
	} {
		t.Run(c.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			})
			c.run(check{T: t, kind: kind(), rng: rand.New(rand.NewPCG(seed, 0))})
		})
	}
}
