package balance_test

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
)

// An expert of the first of two ranks has all rows. The second computes those of its own tokens.
func ExampleMakespan() {
	p := &balance.Problem{
		Loads: &alltoall.Loads{
			Placement: alltoall.Even(2, 2),
			Leaves:    []int{2, 2}, // of each rank
			Rows:      []int32{500, 500, 500, 500 /* of expert 0 by leaf */, 0, 0, 0, 0},
		},
		Costs:  balance.Costs{Row: []int64{1e6, 1e6}, RowBytes: 8192, Params: 1 << 18, Within: 8},
		Limits: alltoall.Limits{Slots: 1},
	}
	planner := &balance.Gated{Planner: &balance.Makespan{}}
	a := planner.Plan(p)
	for _, r := range a {
		fmt.Printf("expert %d: rank %d computes leaves %d to %d\n", r.Expert, r.Rank, r.First, r.End-1)
	}
	fmt.Printf("%d µs instead of %d\n", balance.Finish(p, a)/1e6, balance.Finish(p, nil)/1e6)
	// Output:
	// expert 0: rank 0 computes leaves 0 to 1
	// expert 0: rank 1 computes leaves 2 to 3
	// 1002 µs instead of 2065
}

func ExampleSpill() {
	fmt.Println(&balance.Spill{Ceiling: 110, Threshold: 130})
	// Output: spill(ceiling 110%, threshold 130%, from 1024 rows)
}
