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
		p := balancetest.Random(r)
		for i := range p.Loads.Rows { // in integers, which are the same on all machines
			p.Loads.Rows[i] = int32(r.IntN(200) / (1 + r.IntN(1+i/8)))
		}
		problems = append(problems, p)
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
		"plain": 0x3203c372213300a, "spill": 0x19bb2a1a7d9b18c2, "exact": 0x5b46a55be48a8c36, "threshold": 0x2eb944fd82aec2e0,
		"copies": 0xd863569d4bdca96d, "makespan": 0x7eaa391f1f8066ca, "gated": 0xa150d4818701b16a,
	}, got)
}
