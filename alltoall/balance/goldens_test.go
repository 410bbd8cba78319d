package balance_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/alltoall/balance/balancetest"
)

// TestPlansStay: planners decide as they did before, however quickly: ranks of a job may run builds
// that are not the same, and their allocations must be.
func TestPlansStay(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	var problems []*balance.Problem
	for range 200 {
		problems = append(problems, balancetest.Random(r))
	}
	popular := func(e, leaf int) int32 { return int32(3000/(e+3) + (leaf*7+e*3)%5) }
	for _, ranks := range []int{4, 8, 64} {
		p := uniform(ranks, 4, 4*ranks, popular)
		p.Limits.Slots = 2
		problems = append(problems, p)
	}
	got := map[string]uint64{}
	for name, build := range planners() {
		planner := build()
		for _, p := range problems {
			for range 2 {
				got[name] = (got[name] ^ planner.Plan(p).Digest()) * 1099511628211
			}
		}
	}
	require.Equal(t, map[string]uint64{
		"plain": 0x3203c372213300a, "spill": 0xea9e4dd76474d504, "exact": 0x3f938b445cc8b1a6, "threshold": 0x39ba47f8af2974de,
		"copies": 0x122627c1223e6a6e, "makespan": 0xcc297fdd5cc30670, "gated": 0xada27d0fdf82730c,
	}, got)
}
