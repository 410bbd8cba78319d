package router

import (
	"errors"
	"fmt"
)

// Uniform deals experts to tokens in turn: token i of a token group gets experts i·K to i·K+K−1,
// counted around. It is for benchmarks: no load is more even. No parameters, no gradient, weights
// of 1/K. (MegaBlocks' uniform and Megatron's forced load balancing are random; this is exact.)
type Uniform struct {
	// K is the number of experts of each token, from 1 to all.
	K int
}

var _ Router = Uniform{}

// New is described at [Router].
func (r Uniform) New(s Shape) (Gate, error) {
	if err := errors.Join(append(checkShape(s), checkK("Uniform", r.K, s.Experts)...)...); err != nil {
		return nil, err
	}
	return newGiven(s, r.K, inTurn(s.Experts)), nil
}

// inTurn deals this many experts.
type inTurn int32

func (n inTurn) experts(dst []int32, _ *input, _, i int) {
	for j := range dst {
		dst[j] = int32((int64(i)*int64(len(dst)) + int64(j)) % int64(n))
	}
}

// checkK returns what is wrong with a number of experts for each token.
func checkK(name string, k, experts int) []error {
	if k >= 1 && k <= max(experts, 1) {
		return nil
	}
	return []error{fmt.Errorf("router: %s: K is %d, want 1 to the %d experts", name, k, experts)}
}
